"""From the bytes of a mail to its parts: header fields, the notice's own prose, the delivery report, the returned original.

Bounces are the worst mail there is: boundaries are lost, charsets are wrong, headers are missing. So parts are found by
what stands in the text (a boundary that is declared anywhere, or a ``--`` line with a ``Content-`` field below it) and
not by the structure that the header promises. Everything here is one pass over the bytes, and nothing raises.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from itertools import islice
from typing import NamedTuple

from bounceml.parsing import decode
from bounceml.parsing.original import split_original

_MAX_DELIMITERS = 10_000
_MAX_HEAD = 65_536
_MAX_BODY = 2_097_152  # of one part, before decoding
_MAX_STATUS = 10 * 2**20  # of a delivery report, in which every recipient counts: 100,000 of them have 10 MB, and take 2 seconds
_MAX_PROSE = 2**18  # characters of a notice, in which every word counts: the slowest take half a second


class Mail(NamedTuple):
    """A mail taken apart. ``headers`` has lower-case names and decoded values, the first of each name.

    ``prose`` is what the notice itself says, ``status`` the delivery-status parts, ``original`` the start of the
    returned original, ``types`` the content types of the mail's own parts, ``cut`` what was too large to be read, in words.
    """

    headers: dict[str, str]
    prose: str
    status: str
    original: str
    types: frozenset[str]
    cut: tuple[str, ...] = ()


class _Part(NamedTuple):
    delimiter: bytes
    type: str
    head: str
    body: bytes
    end: int  # of the body, in the mail


# RFC 3462 section 2 and RFC 6533 section 5; the second and fourth return the header only.
_ORIGINALS = frozenset(
    {"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers", "text/rfc822-header", "message/partial"}
)
_STATUSES = frozenset({"message/delivery-status", "message/global-delivery-status"})
MAILS = frozenset({"message/rfc822", "message/global"})
# Webmails attach a mail as a file of any type, named after its subject.
_MAIL_FILE = re.compile(r"\bname\*?(?:0\*?)?[ \t]*=[^;\n]{1,400}\.eml\b", re.IGNORECASE)
# Fields of which a mail has at least one; without them the first lines are prose that only looks like fields.
_MAIL_FIELD = re.compile(
    r"^(?:from|to|subject|date|received|return-path|message-id|mime-version|content-type|delivered-to|x-failed-recipients|auto-submitted):",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD_START = re.compile(rb"[!-9;-~]{1,80}[ \t]*:")
_END_OF_HEAD = re.compile(rb"\n[ \t]*\n")
_BOUNDARY = re.compile(rb'boundary[ \t]*=[ \t]*(?:"([^"\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_DELIMITER = re.compile(rb"^--[^\n]*", re.MULTILINE)
_TYPE = re.compile(r"^content-type[ \t]*:\s*([\w.+-]+/[\w.+-]+)", re.IGNORECASE | re.MULTILINE)
_ENCODING = re.compile(r"^content-transfer-encoding[ \t]*:\s*([\w-]+)", re.IGNORECASE | re.MULTILINE)
_CHARSET = re.compile(r"charset[ \t]*=[ \t]*\"?([\w.:+-]+)", re.IGNORECASE)
_HEADER = re.compile(r"^([!-9;-~]{1,80})[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)  # a field and its folded lines, RFC 5322 section 2.2
_CONTENT_FIELD_BELOW = re.compile(rb"\nContent-[A-Za-z-]{1,40}[ \t]*:", re.IGNORECASE)


def take_apart(raw: bytes) -> Mail:
    """Return the parts of a mail, whatever its bytes."""
    parts = list(_parts(_lines(raw)))
    texts, statuses, originals = _sort(parts)
    written, whole = _prose(texts)
    prose, returned = split_original(written)
    return Mail(
        headers=_headers(parts[0].head),
        prose=prose,
        status="\n\n".join(_decoded(part) for part in statuses),
        original="\n".join([*(_decoded(part._replace(body=part.body[:_MAX_HEAD])) for part in originals[:1]), returned]),
        types=frozenset(part.type for part in (*texts, *statuses, *originals)) | _declared(parts[0].head),
        cut=tuple(_cut(statuses, complete=whole or bool(returned))),
    )


def attached(raw: bytes) -> Iterator[bytes]:
    """Yield the mails attached to a mail, each whole; those attached to an attached mail stand in it."""
    lines = _lines(raw)
    for part in _sort(list(_parts(lines)))[2]:
        if part.type in MAILS:
            yield _transferred(part.head, lines[part.end - len(part.body) : _end(lines, part)])


def _end(raw: bytes, part: _Part) -> int:
    """Where a part ends that has parts of its own: at the next delimiter of its level."""
    if not part.delimiter:
        return len(raw)
    delimiter = re.compile(rb"^--" + re.escape(part.delimiter) + rb"(?:--)?[ \t]*$", re.MULTILINE).search(raw, part.end)
    return delimiter.start() if delimiter else len(raw)


def _lines(raw: bytes) -> bytes:
    """The mail with LF at the end of every line."""
    lines = raw.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b"\n")
    return lines.partition(b"\n")[2] if lines.startswith(b"From ") else lines  # the separator line of an mbox


def _parts(raw: bytes) -> Iterator[_Part]:
    """Cut the mail at its delimiters; the first part is the mail's header with what stands above the first delimiter."""
    declared = {(quoted or bare).strip() for quoted, bare in islice(_BOUNDARY.findall(raw), 100)}
    start, name, open_ = 0, b"", True
    for line in islice(_DELIMITER.finditer(raw), _MAX_DELIMITERS):
        found = line[0][2:].strip()
        closes = found not in declared and found.endswith(b"--") and found[:-2] in declared
        undeclared = b" " not in found and _CONTENT_FIELD_BELOW.match(raw, line.end())
        if found in declared or closes or undeclared:
            if open_:
                yield _part(name, raw[start : line.start()], line.start())
            start, name, open_ = line.end() + 1, found, not closes
    if open_:
        yield _part(name, raw[start:], len(raw))


def _part(delimiter: bytes, section: bytes, end: int) -> _Part:
    head, body = b"", section
    if section.startswith(b"\n"):
        body = section[1:]
    elif _FIELD_START.match(section):
        blank = _END_OF_HEAD.search(section)
        head, body = (section[: blank.start()], section[blank.end() :]) if blank else (section, b"")
    text = decode.text(head[:_MAX_HEAD], "")
    if not delimiter and not _MAIL_FIELD.search(text):
        text, body = "", section
    found = _TYPE.search(text)
    kind = found[1].lower() if found else "text/plain"
    if kind.startswith("application/") and _MAIL_FILE.search(text):
        kind = "message/rfc822"
    return _Part(delimiter, kind, text, body, end)


def _sort(parts: list[_Part]) -> tuple[list[_Part], list[_Part], list[_Part]]:
    """Return the texts, delivery reports and returned originals among the mail's own parts.

    A returned original reaches to the next delimiter of its own level, so the parts inside it are left out. Texts below
    a delivery report or an original are footers, or the original once more.
    """
    texts: list[_Part] = []
    statuses: list[_Part] = []
    originals: list[_Part] = []
    inside: bytes | None = None
    for number, part in enumerate(parts):
        if inside is not None and part.delimiter != inside:
            continue
        inside = None
        if part.type in _ORIGINALS and part.delimiter:
            originals.append(part)
            inside = part.delimiter
        elif part.type in _STATUSES:
            statuses.append(part)
        elif part.type.startswith("multipart/") and number + 1 < len(parts):
            continue
        elif part.type.startswith(("text/", "multipart/")) and not (texts and (statuses or originals)):
            texts.append(part)
        elif part.type.startswith("message/"):
            originals.append(part)  # a report of another kind; its type tells what the mail is
    return texts, statuses, originals


def _declared(head: str) -> frozenset[str]:
    """The kind of report that the mail's own header declares (RFC 6522 section 3), written as a content type."""
    found = re.search(r"report-type[ \t]*=[ \t]*\"?([\w-]+)", head, re.IGNORECASE)
    return frozenset({f"message/{found[1].lower()}"}) if found else frozenset()


# --- text -------------------------------------------------------------------------------------------------------


def _prose(texts: list[_Part]) -> tuple[str, bool]:
    """The human text, and whether that is all of it: plain text where there is any, else HTML turned into text."""
    plain = [part for part in texts if part.type != "text/html"]
    written = [text for part in plain if (text := _decoded(part).strip("\n"))]
    if any(text.strip() for text in written):
        whole = all(len(part.body) <= _MAX_BODY for part in plain)
    else:
        pages = [_decoded(part) for part in texts if part.type == "text/html"]
        whole = all(len(page) <= _MAX_PROSE for page in pages)
        written = [decode.from_html(page[:_MAX_PROSE]) for page in pages]
    prose = "\n\n".join(written)
    whole = whole and len(prose) <= _MAX_PROSE
    return prose if whole else _without_end(prose[:_MAX_PROSE]), whole


def _without_end(text: str) -> str:
    """A text that was cut, without its last paragraph, line or word: half an address is another address."""
    for separator in ("\n\n", "\n", " "):
        end = text.rfind(separator, max(0, len(text) - _MAX_HEAD))
        if end > 0:
            return text[:end]
    return text


def _cut(statuses: list[_Part], *, complete: bool) -> Iterator[str]:
    """Say what of a mail was too large to be read; a notice is ``complete`` where it was read to its end."""
    if any(len(part.body) > _MAX_STATUS for part in statuses):
        yield f"a delivery report of more than {_MAX_STATUS >> 20} MB; what stands behind that was not read"
    if not complete:
        yield f"a notice of more than {_MAX_PROSE >> 10} KB; what stands behind that was not read"


def _decoded(part: _Part) -> str:
    limit = _MAX_STATUS if part.type in _STATUSES else _MAX_BODY
    text = decode.text(_transferred(part.head, part.body[:limit]), _charset(part.head)).replace("\r\n", "\n").replace("\r", "\n")
    return text if len(part.body) <= limit else _without_end(text)


def _transferred(head: str, body: bytes) -> bytes:
    """The bytes of a body that its Content-Transfer-Encoding (RFC 2045 section 6) stands for, as far as they can be had."""
    encoding = _ENCODING.search(head)
    if encoding and encoding[1].lower() == "base64" and b" " not in body[:300].strip():
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
        return binascii.a2b_base64(letters[: len(letters) // 4 * 4] + _padding(letters))
    if encoding and encoding[1].lower() == "quoted-printable":
        return binascii.a2b_qp(body)
    return body


def _padding(letters: bytes) -> bytes:
    """The last two or three letters of unpadded base64, padded; a single letter holds no whole byte."""
    rest = letters[len(letters) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _charset(head: str) -> str:
    found = _CHARSET.search(head)
    return found[1].lower() if found else ""


# --- header -----------------------------------------------------------------------------------------------------


def _headers(head: str) -> dict[str, str]:
    """The header fields, names in lower case, encoded words (RFC 2047) decoded."""
    found: dict[str, str] = {}
    for name, value in _HEADER.findall(head):
        found.setdefault(name.lower(), _decoded_words(" ".join(value[:2000].split())))
    return found


def _decoded_words(value: str) -> str:
    if "=?" not in value:
        return value
    try:
        words = decode_header(value)
    except (ValueError, HeaderParseError):
        return value
    return "".join(decode.text(word, (charset or "").lower()) if isinstance(word, bytes) else word for word, charset in words)
