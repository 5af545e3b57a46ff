"""From a reply as received to its template: the masked text that the model and the rules read.

``normalise`` runs the ``STEPS`` in order; then every blank-separated token is replaced by its ``mark``. A mark depends on its
token alone, and all else that is read of a reply on the masked text, so both can be remembered: streams repeat the same few
thousand templates.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from _thread import allocate_lock  # `threading` costs a pasted line 1 ms
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from bounceml import tables
from bounceml.values import Codes, Reading, Reply, Span

if TYPE_CHECKING:
    import jieba

# Patterns that few replies need are left as strings: `re` compiles them when they are first asked for, and keeps them.

# --- normalising ------------------------------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\ufeff]")
# Web pages hide addresses behind this text; a pasted reply then has it where the address was.
_HIDDEN_ADDRESS = re.compile(r"\[email\s*protected\]", re.IGNORECASE)
# "550-5.1.1 first\n550 5.1.1 last" (RFC 5321 section 4.2.1), also where the line ends are already lost.
_CONTINUATION = r"(?<=\S)\s*(?:\r?\n|\s)\s*([245]\d\d)-(?:[245]\.\d{1,3}\.\d{1,3}\b)?[ ]*"
_LAST_LINE = r"\s*\r?\n\s*([245]\d\d)[ ](?:[245]\.\d{1,3}\.\d{1,3}\b)?[ ]*"
_MANY_BLANKS = r"\s{20,}"  # the two above look from each of them to the last
_FIRST_CODE = re.compile(r"([245]\d\d)-(?=\S| )")
_HIDDEN_END = "rotected]"  # of the blank-separated parts of such a text, the one that shows it


def _one_form(text: str) -> str:
    """Full-width and compatibility characters in their plain form (Unicode NFKC), control characters gone."""
    return _CONTROL.sub("", unicodedata.normalize("NFKC", text))


def _hidden_addresses(text: str) -> str:
    return _HIDDEN_ADDRESS.sub("hidden@address.invalid", text)


def _join_lines(text: str) -> str:
    """Join a multi-line reply: the code stays once, at its front (RFC 5321 section 4.2.1)."""
    first = _FIRST_CODE.search(text)
    if not first:
        return text
    code = first[1]
    text = re.sub(_MANY_BLANKS, lambda blanks: "\n" if "\n" in blanks[0] else " ", text)

    def drop(match: re.Match[str]) -> str:
        return " " if match[1] == code else match[0]

    head, tail = text[: first.end()], text[first.end() :]
    tail = re.sub(_LAST_LINE, drop, re.sub(_CONTINUATION, drop, tail))
    return f"{head[:-1]} {tail}"


def _single_blanks(text: str) -> str:
    return " ".join(text.split())


STEPS = (_one_form, _hidden_addresses, _join_lines, _single_blanks)


def _is_plain(text: str) -> bool:
    """Say whether a text is surely as the steps leave it, but for blanks around it; most lines of a log are."""
    return text.isascii() and text.isprintable() and "  " not in text and _HIDDEN_END not in text.lower() and not _FIRST_CODE.search(text)


def normalise(text: str) -> str:
    r"""Return ``text`` in one form: NFKC, multi-line replies joined, single blanks; case is kept.

    >>> normalise("550-5.1.1 The email account\r\n550 5.1.1 does not exist")
    '550 5.1.1 The email account does not exist'
    """
    if _is_plain(text):
        return text.strip()
    for step in STEPS:
        text = step(text)
    return text


# --- showing ----------------------------------------------------------------------------------------------------


def visible(text: str) -> str:
    r"""Return the text with its control and direction characters written out: hostile mails hide and turn words with them.

    >>> visible("user\u202egpj.exe")
    'user\\u202egpj.exe'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


# --- codes ------------------------------------------------------------------------------------------------------

# A reply code counts only where replies begin: at the front (an address may stand before it), after the words that
# introduce a reply, or before an enhanced code. A size or a limit of 552 is no code.
_REPLY_CODE = re.compile(
    r"""(?:^(?:<addr>\s*[:.,]*\s*)?["'(<\[]?
        |\b(?:said|says|smtp|reply|replied|response|responded(?:\ with)?|returned|answered|because|reason|error|code|status
             |x-unix|rejected|failed|bounced)
          \s*[:;=]?\s*["'(<\[#]?
        |[:;]\s*["'(<]?(?=[245]\d\d[ -]\#?[245]\.\d{1,3}\.\d)
        |<<<\s*
        |(?:原因|退回|错误|錯誤|代码|信息|返回)\s*[:;是]*\s*["'(]?)
        ([245][0-5]\d)(?=$|[-\s<>:;,.)\]"'\#]\D|[-\s\#(]*[245]\.\d{1,3}\.\d|[-\s]*$|[A-Z])""",
    re.VERBOSE | re.IGNORECASE,
)
_CODE_BEFORE_STATUS = re.compile(r"(?<![\d.])([245][0-5]\d)[-\s(#]+(?=[245]\.\d{1,3}\.\d{1,3}(?![\d.]))")
# Not inside an IP address or a version: "[203.5.2.2]", "version 4.9.2" (RFC 3463 section 2: class.subject.detail).
_STATUS = re.compile(r"(?<![\d.])(?<!\bv)(?<!version )([245]\.[0-7]\.\d{1,3})(?![\d]|\.\d)", re.IGNORECASE)


def codes(masked: str) -> Codes:
    """Return the reply code and enhanced status code of a masked reply.

    >>> codes("552 5.2.2 mailbox full"), codes("refused by <ip>, limit is 552 bytes")
    (Codes(reply_code=552, status='5.2.2'), Codes(reply_code=None, status=None))
    """
    match = _CODE_BEFORE_STATUS.search(masked) or _REPLY_CODE.search(masked)
    reply_code = int(match[1]) if match else None
    found = _STATUS.findall(masked)
    agreeing = [status for status in found if reply_code and status[0] == str(reply_code)[0]]
    return Codes(reply_code, (agreeing or found or [None])[0])


# A word outside of marks: codes and masked names alone tell no cause.
_WORD = re.compile(r"(?<![<:=\w])[^\W\d_]{2,}")

# --- an expired message that tells its last error ---------------------------------------------------------------

# "554 5.4.7 … (last transfail: 452 4.2.2 …)", "Message expired: … <421 4.4.2 …>": the inner reply is the cause.
_LAST_ERROR = r"""(?xi)(?:\blast\ (?:transfail|error|attempt|response|reply|smtp\ error|status)[^:]{0,60}:\s*
        |\bexpired\b(?:[^<]|<(?:num|host|addr|ip)>){0,80}<(?=[245]\d\d[\s-]))
        (?P<inner>(?:<\w+>|[^)>]){8,})[)>]?"""
_EXPIRED = re.compile(
    r"\b[45]\.4\.7\b|\b(?:message|mail|delivery time|retry time)\w* (?:has |is |was |been )*(?:expired|too old|exceeded)\b"
    r"|\bqueue\w*\b.{0,20}\btoo long\b|\btoo long\b.{0,20}\bqueue|\bretry time(?:out)? (?:not reached|exceeded)"
    r"|\bqueued? timeout\b|队列.{0,8}(?:过长|超时)|\bgiv(?:en|ing) up\b.{0,40}\b(?:days?|hours?)\b",
    re.IGNORECASE,
)


# What qmail-send (qmail-send.c), Exim (retry.c) and Sendmail (deliver.c) write behind the last error when they give up.
_GIVEN_UP = re.compile(
    r"\s*\bI'm not going to try again; this message has been in the queue too long\.?|:?\s*\bretry timeout exceeded\b"
    r"|\s*\bMessage could not be delivered for <num> \w+\s+Message will be deleted from queue\b",
    re.IGNORECASE,
)
# What Sendmail (deliver.c) writes behind it while it goes on.
_STILL_TRYING = re.compile(
    r"\s*\bWarning: message still undelivered after <num> \w+(?:\s+Will keep trying until message is <num> \w+ old)?\b", re.IGNORECASE
)


def _without(words: re.Pattern[str], masked: str) -> str | None:
    """Return what stands around these words, where they are there and what is left still tells something."""
    rest = words.sub("", masked)
    return rest.strip() if rest != masked and len(_WORD.findall(rest)) > 1 else None


def _unwrap(masked: str) -> tuple[str, bool]:
    """Return the reply that tells the cause, and whether the message expired around it."""
    if _EXPIRED.search(masked) and (match := re.search(_LAST_ERROR, masked)):
        return match["inner"].strip(), True
    if inner := _without(_GIVEN_UP, masked):
        return inner, True
    return _without(_STILL_TRYING, masked) or masked, False


# --- the template -----------------------------------------------------------------------------------------------

_FILES = (
    "exe|zip|rar|dat|eml|html?|php|cgi|asp|aspx|shtml|js|vbs|scr|pif|bat|com_|txt|doc|docx|pdf|c|cf|conf|cpp|py|pl|sh|log|db|qmail|forward"
)
MARKS = re.compile(
    rf"""(?P<url>(?:https?|ftp)://[^\s<>"']+|www\.[^\s<>"']+)
        |(?P<addr><?(?:"[^"\s]*"|[^\s<>"'(),;:\[\]]+)@\[?[^\s<>"'(),;:\[\]!?]*[^\s<>"'(),;:\[\]!?.]\]?>?)
        |(?P<ip>\[?(?<![\d.])\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\d.]*\d)(?::\d+)?\]?
          |\[?(?<!\w)(?:[0-9a-fA-F]{{1,4}}:){{1,6}}(?::[0-9a-fA-F]{{1,4}}){{1,6}}(?!\w)\]?|\[?(?<!\w)(?:[0-9a-fA-F]{{1,4}}:){{7}}[0-9a-fA-F]{{1,4}}(?!\w)\]?)
        |(?P<status>(?<![\d.])[245]\.\d{{1,3}}\.\d{{1,3}}(?![\d]|\.\d))
        |(?P<host>(?<![\w.-])(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?\.)+(?!(?:{_FILES})\b)(?:[a-z]{{2,24}}|[A-Z]{{2,24}}|xn--[a-z0-9-]+)\b\.?)
        |(?P<id>(?<![A-Za-z0-9])(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{{9,}}(?:[-.][A-Za-z0-9]+)*|(?<![A-Za-z0-9])[0-9a-f]{{4,}}(?:-[0-9a-f]{{4,}})+)
        |(?P<num>(?<![A-Za-z_\d])\d+(?:[.,:/-]\d+)*)""",
    re.VERBOSE,
)
_BARE_CODE = re.compile(r"[245][0-5]\d")
_PATH_WORD = re.compile(r"[a-z]{3,}")
_NESTED = re.compile(r"[<\[(]*<(addr|ip|host)>[>\])]*")


def _mark_url(url: str) -> str:
    """A help link often names the reason; its path words stay, its host and numbers do not."""
    host, _, path = re.sub(r"^[a-z]+://", "", url.lower()).partition("/")
    words = " ".join(_PATH_WORD.findall(path)[:6])
    listed = tables.blocklist_of(host)
    return f"<url> {f'dnsbl:{listed.operator} ' if listed else ''}{words}".strip()


def _mark_host(host: str) -> str:
    listed = tables.blocklist_of(host.rstrip(".").lower())
    return f"dnsbl:{listed.operator}" if listed else "<host>"


def _mark_num(number: str) -> str:
    return number if _BARE_CODE.fullmatch(number) else "<num>"


def _mark_one(match: re.Match[str]) -> str:
    kind, found = str(match.lastgroup), match[0]
    if kind == "url":
        return _mark_url(found)
    if kind == "host":
        return _mark_host(found)
    if kind == "num":
        return _mark_num(found)
    return found if kind == "status" else f"<{kind}>"


_LONGEST = 1000  # characters; the longest token of our examples has 400


def mark(token: str) -> str:
    """Return the token with addresses, hosts, IP addresses, links, ids and numbers replaced by typed marks.

    >>> mark("[192.0.2.7]:"), mark("<joe@example.com>:"), mark("5.1.1"), mark("MI:SPF")
    ('<ip>:', '<addr>:', '5.1.1', 'mi:spf')
    """
    if len(token) > _LONGEST:  # no word of any language; the time for one grows with the square of its length
        return "".join(mark(token[start : start + _LONGEST]) for start in range(0, len(token), _LONGEST))
    return _NESTED.sub(r"<\1>", MARKS.sub(_mark_one, token)).lower()


def origins(token: str) -> list[Span]:
    """Return for each character of ``mark(token)`` the span of the token that it stands for.

    >>> mark("<a@b.net>:"), origins("<a@b.net>:")[0], origins("<a@b.net>:")[-1]
    ('<addr>:', (0, 9), (9, 10))
    """
    if len(token) > _LONGEST:
        starts = range(0, len(token), _LONGEST)
        return [(start + a, start + b) for start in starts for a, b in origins(token[start : start + _LONGEST])]
    placed: list[tuple[str, Span]] = []
    at = 0
    for match in MARKS.finditer(token):
        placed += [(token[place], (place, place + 1)) for place in range(at, match.start())]
        placed += [(character, match.span()) for character in _mark_one(match)]
        at = match.end()
    placed += [(token[place], (place, place + 1)) for place in range(at, len(token))]
    found: list[tuple[str, Span]] = []
    at = 0
    for match in _NESTED.finditer("".join(character for character, _ in placed)):
        whole = (placed[match.start()][1][0], placed[match.end() - 1][1][1])
        found += [*placed[at : match.start()], *((character, whole) for character in f"<{match[1]}>")]
        at = match.end()
    return [span for character, span in [*found, *placed[at:]] for _ in character.lower()]


# ASCII, so that a code ends where Chinese begins: "错误代码HL:REP该IP". Microsoft's "AS(42003)" is the only kind with brackets.
_CODE_LIKE = re.compile(r"AS\(\d+\)|[A-Za-z0-9][\w:#.-]*\w", re.ASCII)

# What no normalised text has, behind the mark of a token: a provider's own code, or that the steps may change the token.
_CODE, _CHANGES = "\0", "\1"
_NAMED = re.compile(rf"{_CODE}([^{_CODE}{_CHANGES} ]+)")


@lru_cache(maxsize=65536)
def _seen(token: str) -> str:
    """Return the mark of a token, and behind it the providers' own codes in it, or that normalising may change more than the token.

    The first step works on each token by itself: nothing composes with the blank before it (Unicode Standard Annex 15, section 9).
    """
    form = token if token.isascii() else _one_form(token)
    changes = form != token and form != "".join(form.split())
    changes |= "-" in form and _FIRST_CODE.search(f"{form} ") is not None
    changes |= "]" in form and _HIDDEN_END in form.lower()
    known = tables.provider_codes()
    named = [code for code in _CODE_LIKE.findall(form) if code in known]
    return _CODE.join([mark(form), *named]) + (_CHANGES if changes or not form else "")


_CONNECTED = r"(?i)\bconnect(?:ing|ion)?(?:ed)?\s+(?:to|with)\s+(?:host\s+)?<?([\w.-]+\.[a-z]{2,})"
_DOMAIN = r"(?i)@([\w.-]+\.[a-z]{2,})"


def relations(text: str, recipient: str | None) -> str:
    """Return what stands between the parts of a normalised reply and is lost by masking.

    ``rel:host=domain``: the host connected to is the recipient's own domain, so no mail exchanger was found.
    """
    connected = re.search(_CONNECTED, text)
    domain = re.search(_DOMAIN, recipient or text)
    return "rel:host=domain" if connected and domain and connected[1].lower() == domain[1].lower() else ""


_MAX_TEXT = 16_384  # characters that are judged; a reply has some hundred, and all that is judged of a notice some thousand
_LONG = 2000  # characters; texts beyond it are remembered apart, a few, as thousands of them would fill the memory


@lru_cache(16)  # of one text more than one thing is asked
def judged(given: str) -> str:
    """Return the part of a reply's text that is judged, normalised."""
    return normalise(given[:_MAX_TEXT])


def wording(given: str) -> str:
    """Return all that the words of a reply tell, as one string: the marks of its tokens, and the providers' own codes in them.

    Replies of one wording differ in nothing that a verdict on them is decided by, but for what the input reports and for
    ``relations``. This is the inner loop of a stream: a look-up for each token, and no more where normalising changes nothing.
    """
    if len(given) > _LONG:
        return _long_wording(given)
    if given.isprintable():
        found = " ".join(map(_seen, given.split()))
        if _CHANGES not in found:
            return found
    return _wording(given)


def tells_all(wording: str) -> bool:
    """Say whether replies of this wording differ in the case of letters at most, as nothing in it is masked.

    Only ASCII and Chinese are looked at: their letters have one lower case each.
    """
    masked = any(sign in wording for sign in ("<", "dnsbl:", _CODE))
    return not masked and all(letter.isascii() or is_han(letter) or "\u3000" <= letter <= "\u303f" for letter in wording)


def _wording(given: str) -> str:
    return " ".join(map(_seen, judged(given).split())).replace(_CHANGES, "")


_long_wording = lru_cache(256)(_wording)  # a report on many recipients repeats what befell them


def reading(wording: str, outcome: str = "unknown", status: str | None = None, relations: str = "") -> Reading:
    """Make replies of one wording ready to judge: unwrapped, their codes found.

    Parameters
    ----------
    wording
        What ``wording`` returned.
    outcome, status
        What the input reports; its status stands in where the text has no enhanced code.
    relations
        What ``relations`` returned.

    """
    masked = _NAMED.sub("", wording)
    template, expired = _unwrap(masked)
    expired = expired or bool(_EXPIRED.search(masked))
    own = codes(template)
    has_words = bool(_WORD.search(template))
    if relations:
        template = f"{template} {relations}"
    if own.status is None and status:
        own = Codes(own.reply_code, status)
        template = f"{status} {template}"
    return Reading(template, own, expired, has_words, outcome, tuple(_NAMED.findall(wording)))


def may_relate(reading: Reading) -> bool:
    """Say whether replies of this wording may have ``relations``."""
    return "connect" in reading.template


def read(reply: Reply) -> Reading:
    """Make one reply ready to judge."""
    found = reading(words := wording(reply.text), reply.outcome, reply.status)
    if may_relate(found) and (between := relations(judged(reply.text), reply.recipient)):
        return reading(words, reply.outcome, reply.status, between)
    return found


# --- tokens and features ----------------------------------------------------------------------------------------

_TOKEN = re.compile(r"<\w+>|(?:rel|dnsbl):[\w=.-]+|[245]\.\d{1,3}\.\d{1,3}|[a-z]{2}:[a-z0-9]{3,4}\b|\w+(?:'[a-z]+)?")
_STATUS_TOKEN = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})")


def is_han(character: str) -> bool:
    """Say whether a character is Chinese; a comparison, as compiling a class of 30,000 characters costs 3 ms."""
    return "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff"


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let an import of this module fail for a while; who can do without it does."""
    there = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]  # documented: importlib, "if the value is None"
    try:
        yield
    finally:
        del sys.modules[module]
        if there:
            sys.modules[module] = there


_loading = allocate_lock()


@cache
def _chinese() -> jieba.Tokenizer:
    """Jieba with our own word list; its own dictionary (5 MB, half a second) is never read."""
    with _loading, _hidden("pkg_resources"):  # jieba asks it for the path of its own dictionary, and it takes 100 ms
        import jieba

    tokenizer = jieba.Tokenizer()
    with tables.open_table("words_zh.txt") as words:
        tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(words)
    tokenizer.initialized = True
    return tokenizer


def tokens(masked: str) -> list[str]:
    """Split a template into words, marks and codes; Chinese is cut by jieba with our own word list.

    >>> tokens("550 5.1.1 <addr>: user unknown")
    ['550', '5.1.1', '<addr>', 'user', 'unknown']
    """
    found: list[str] = []
    for token in _TOKEN.findall(masked):
        if token.isascii():
            found.append(token)
            continue
        for han, run in groupby(token, is_han):
            word = "".join(run)
            found.extend(_chinese().cut(word, HMM=False) if han else (word,))
    return found


def word_features(masked: str) -> list[str]:
    """Return the word features of a template: words, pairs of neighbours, and codes without their class."""
    words = tokens(masked)
    features = words + [f"{a} {b}" for a, b in pairwise(words)]
    features += [f"x.{match[2]}" for match in map(_STATUS_TOKEN.fullmatch, words) if match]
    return features


def char_features(masked: str) -> list[str]:
    """Return the character features of a template: 3 or 4 neighbours inside a word (2 to 4 in Chinese), blanks at its ends."""
    features: list[str] = []
    for word in masked.split():
        padded = f" {word} "
        for size in _sizes(word):
            features += [padded[start : start + size] for start in range(len(padded) - size + 1)]
    return features


def _sizes(word: str) -> range:
    if word[0] == "<" and word[-1] == ">":
        return range(0)
    return range(3 if word.isascii() or not any(map(is_han, word)) else 2, 5)


# --- where the features stand -----------------------------------------------------------------------------------


def places(found: list[str], masked: str) -> list[Span]:
    """Return where the ``tokens`` of a template stand in it.

    >>> places(["550", "user"], "550: user?")
    [(0, 3), (5, 9)]
    """
    spans, at = list[Span](), 0
    for token in found:  # what is no token between two of them holds no letter, so the next place is the right one
        start = masked.index(token, at)
        at = start + len(token)
        spans.append((start, at))
    return spans


def word_places(masked: str) -> list[tuple[Span, ...]]:
    """Return where each of ``word_features`` stands in the template."""
    words = tokens(masked)
    spans = places(words, masked)
    found: list[tuple[Span, ...]] = [(span,) for span in spans]
    found += pairwise(spans)
    found += [(span,) for word, span in zip(words, spans, strict=True) if _STATUS_TOKEN.fullmatch(word)]
    return found


def char_places(masked: str) -> list[tuple[Span, ...]]:
    """Return where each of ``char_features`` stands in the template, without the blanks at the ends of its word."""
    found: list[tuple[Span, ...]] = []
    for word in re.finditer(r"\S+", masked):
        before, last = word.start() - 1, word.end()
        for size in _sizes(word[0]):
            starts = range(before, last + 1 - size + 1)
            found += [((max(start, word.start()), min(start + size, last)),) for start in starts]
    return found
