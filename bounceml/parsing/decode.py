"""From bytes and HTML to plain text, whatever the mail declares about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

_SAMPLE = 65_536

# Chinese servers say gb2312 and send characters that only its successor has.
_WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "us-ascii": "",
    "iso-8859-1": "cp1252",
    "windows-1252": "cp1252",
}
# Text in mail comes in these; Python also knows codecs that are slow on hostile bytes (punycode) or warn (unicode_escape).
_CHARSET = re.compile(r"(?:utf-?(?:8|16|32)|iso|windows|cp\d|gb|big5|euc|koi8|shift|s?jis|latin|us-ascii|ascii|ks_c|hz|mac|tis)")
# What undeclared bytes may be. UTF-8 and ISO-2022-JP are known for sure and never guessed.
_DETECTED = ("gb18030", "big5", "cp932", "euc-jp", "cp949", "koi8-r", "koi8-u", "windows-1251", "windows-1250", "windows-1252")
_SHIFT = b"\x1b$"  # ISO-2022 (RFC 1468) changes to two bytes a character; it stands in no other text
_FOREIGN = re.compile(rb"[\x80-\xff]{3}")  # in Western languages letters with an accent stand alone


def text(raw: bytes, charset: str) -> str:
    """Decode bytes by the declared charset where that works, else by what the bytes look like; never raises.

    Software that does not know the charset declares Latin-1 or ASCII: neither is believed of bytes that look otherwise.
    """
    declared = _declared(charset)
    if raw.isascii() and _SHIFT not in raw and not declared.startswith(("utf", "iso-2022", "hz")):
        return raw.decode("ascii")
    if declared == "cp1252" and _FOREIGN.search(raw):
        declared = ""
    return _decoded(raw, declared, _detected)


def line(raw: bytes) -> str:
    """Decode a line of a log, of which there may be millions: what it looks like is told by a count of byte pairs."""
    return _decoded(raw, "", _of_pairs)


def _declared(charset: str) -> str:
    return _WIDER.get(charset, charset) if _CHARSET.match(charset) else ""


def _decoded(raw: bytes, declared: str, guess: Callable[[bytes], str]) -> str:
    for name in filter(None, _charsets(raw, declared, guess)):
        try:
            return raw.decode(name)
        except (LookupError, UnicodeError, ValueError):
            continue
    try:
        return raw.decode(declared or name, "replace")
    except (LookupError, UnicodeError, ValueError):
        return raw.decode("latin-1")


def _charsets(raw: bytes, declared: str, guess: Callable[[bytes], str]) -> Iterator[str]:
    """The charsets that bytes may be in, the likeliest first."""
    if _SHIFT in raw:
        yield "iso2022_jp_ext"
    yield from ("utf-8", declared) if declared in ("", "cp1252") else (declared, "utf-8")
    yield guess(raw) or "latin-1"


def _detected(raw: bytes) -> str:
    """The charset of undeclared bytes.

    Of 968 replies of ``data/examples`` in seven charsets chardet tells 960 and takes 0.3 ms, charset-normalizer 895 in 0.2 ms.
    """
    if not _FOREIGN.search(raw[:_SAMPLE]):
        return "windows-1252"
    import chardet  # 0.1 s with its tables, that other mails need not pay for

    sample = b"\n".join(part for part in raw[:_SAMPLE].split(b"\n") if not part.isascii())
    return chardet.detect(sample, compat_names=False, prefer_superset=True, include_encodings=_DETECTED)["encoding"] or ""


def _of_pairs(raw: bytes) -> str:
    """The East Asian charset of bytes: high ones in pairs, and for EUC-JP many of them hiragana (row 4).

    In Latin texts high bytes mostly stand alone; then there is no guess.
    """
    high, pairs = len(re.findall(rb"[\x80-\xff]", raw)), len(re.findall(rb"[\xa1-\xfe]{2}", raw))
    if pairs == 0 or 2 * pairs < 0.9 * high:
        return ""
    return "euc_jp" if len(re.findall(rb"\xa4[\xa1-\xf3]", raw)) > 0.2 * pairs else "gb18030"


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
        elif "@" in tag:  # an address in brackets that nobody escaped
            self.pieces.append(self.get_starttag_text() or "")

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
    return re.sub(r"\n[ \n]*\n", "\n\n", re.sub(r"(?<![ \t])[ \t]+\n", "\n", "".join(parser.pieces)))
