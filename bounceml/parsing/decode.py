"""From bytes and HTML to plain text, whatever the mail declares about them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SAMPLE = 65_536

# Chinese servers say gb2312 and send characters that only its successor has.
_WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "us-ascii": "utf-8",
    "iso-8859-1": "cp1252",
}


# Text in mail comes in these; Python also knows codecs that are slow on hostile bytes (punycode) or warn (unicode_escape).
_CHARSET = re.compile(r"(?:utf-?(?:8|16|32)|iso|windows|cp\d|gb|big5|euc|koi8|shift|s?jis|latin|us-ascii|ascii|ks_c|hz|mac|tis)")


def text(raw: bytes, charset: str) -> str:
    """Decode bytes by the declared charset where that works, else by what the bytes look like; never raises."""
    declared = _WIDER.get(charset, charset) if _CHARSET.match(charset) else ""
    for name in (declared, "iso-2022-jp" if b"\x1b$" in raw else "", "utf-8", _guessed(raw)):
        if name:
            try:
                return raw.decode(name)
            except (LookupError, UnicodeError, ValueError):
                continue
    try:
        return raw.decode(declared or "latin-1", "replace")
    except (LookupError, UnicodeError, ValueError):
        return raw.decode("latin-1")


def _guessed(raw: bytes) -> str:
    """The East Asian charset of undeclared bytes: high bytes in pairs, and for EUC-JP many of them hiragana (row 4).

    In Latin texts high bytes mostly stand alone; then there is no guess.
    """
    sample = raw[:_SAMPLE]
    high, pairs = len(re.findall(rb"[\x80-\xff]", sample)), len(re.findall(rb"[\xa1-\xfe]{2}", sample))
    if pairs == 0 or 2 * pairs < 0.9 * high:
        return ""
    return "euc_jp" if len(re.findall(rb"\xa4[\xa1-\xf3]", sample)) > 0.2 * pairs else "gb18030"


class _TextOnly(HTMLParser):
    """Collects the text of a page; block elements end a line."""

    _BLOCKS = frozenset({"p", "br", "div", "tr", "li", "h1", "h2", "h3", "h4", "table", "ul", "ol", "hr", "pre", "blockquote"})
    _HIDDEN = frozenset({"style", "script", "title"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._HIDDEN:
            self._hidden = tag
        elif tag in self._BLOCKS:
            self.pieces.append("\n\n" if tag == "p" else "\n")
        elif tag == "td":
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        elif tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(re.sub(r"[ \t\r\n\xa0]+", " ", data))


_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BROKEN_TAG = re.compile(r"<[a-z/][^<>]*(?=<)", re.IGNORECASE)  # one that the next cuts short


def _closed(page: str) -> str:
    """The page without comments and broken tags: for each that is not closed ``HTMLParser`` looks to the end of the page."""
    end = page.rfind("-->")
    whole, rest = (page[: end + 3], page[end + 3 :]) if end >= 0 else ("", page)
    return _BROKEN_TAG.sub("", _COMMENT.sub("", whole) + rest.replace("<!--", ""))


def from_html(page: str) -> str:
    """Return the text of an HTML page, a line a block."""
    parser = _TextOnly()
    try:
        parser.feed(_closed(page))
        parser.close()
    except AssertionError:  # html.parser asserts that a "<![" it met is one it knows; what came before still stands
        pass
    return re.sub(r"\n[ \n]*\n", "\n\n", re.sub(r"[ \t]+\n", "\n", "".join(parser.pieces)))
