"""The address that was meant: what no address may hold taken out of the one that was written, its domain the nearest known one.

A suggestion is a guess about a person's slip, so it is made only where one slip explains the domain, a longer name may
differ more than a short one, and no other known domain is as near: anything else is None.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

from bounceml import decide, tables
from bounceml.tables import MailDomain
from bounceml.values import Evidence, Reply

_LOOKED_AT = 4096  # characters of a reply; a server names the address at its front
_LONGEST = 320  # characters of an address: 64, "@" and 255 (RFC 5321 section 4.5.3.1)


class Correction(NamedTuple):
    """The address or domain that was meant, where we dare say, and what the written one holds that no address may."""

    meant: str | None
    illegal: tuple[Evidence, ...]


NOTHING = Correction(None, ())


def correct(reply: Reply, category: str) -> Correction:
    """Return the correction of the address that a reply is about; a verdict of another category has none.

    Where only a domain is named, that is corrected.

    Examples
    --------
    >>> correct(Reply("Host not found", recipient="joe@gmial.com"), "host_unknown").meant
    'joe@gmail.com'
    >>> correct(Reply("Name service error for domain sian.com: Host not found"), "host_unknown").meant
    'sina.com'
    >>> correct(Reply("553 5.1.3 <joe＠gmail．com>: bad address syntax"), "address_syntax").illegal[0].text
    '＠'

    """
    if category not in decide.MISTYPED or not (reply.recipient or reply.original_recipient or any(sign in reply.text for sign in _SIGNS)):
        return NOTHING
    illegal: tuple[Evidence, ...] = ()
    for written in _written(reply, category):
        if category == decide.ADDRESS_SYNTAX:
            illegal = illegal or tuple(Evidence(found, "address", 1.0) for found in dict.fromkeys(_ILLEGAL.findall(written)))
        if meant := address(written):
            return Correction(meant, illegal)
    return Correction(None, illegal)


# --- what was written -------------------------------------------------------------------------------------------

_AT = "@＠﹫"
_SIGNS = f"{_AT}."  # a text without one holds neither an address nor a host
_ENCLOSED = re.compile(
    rf"""<([^<>{_AT}]{{1,64}}[{_AT}]+[^<>{_AT}]{{1,255}})>
        |"([^<>"{_AT}]{{1,64}}[{_AT}]+[^<>"{_AT}]{{1,255}})["]""",
    re.VERBOSE,
)
_HOST = re.compile(r"(?<![\w.@-])(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![\w-])", re.IGNORECASE)
_OF_SENDER = re.compile(r"(?:\b(?:from|sender)(?: address)?\b|发件人|寄件者)[\s:=<]*$", re.IGNORECASE)
_SENDER_STATUS = re.compile(r"\b[45]\.1\.[78]\b")  # RFC 3463: the sender's mailbox address is bad
_ENDS = "<>()[]{}\"'“”‘’《》〈〉「」（）,;:!?，；："


def _written(reply: Reply, category: str) -> Iterator[str]:
    """The addresses that the reply may be about, then the hosts, as written; the recipient alone where it is known."""
    if given := reply.recipient or reply.original_recipient:
        if any(at in given for at in f"{_AT}#"):
            yield given[:_LONGEST] if category == decide.ADDRESS_SYNTAX else _bare(given[:_LONGEST])
        return
    text = reply.text[:_LOOKED_AT]
    if _SENDER_STATUS.search(text):
        return
    for found in _ENCLOSED.finditer(text):
        if not _OF_SENDER.search(text[max(0, found.start() - 20) : found.start()]):
            yield found[1] or found[2]
    before = ""
    for token in _ENCLOSED.sub(" ", text).split():
        if any(at in token for at in _AT) and len(token) <= _LONGEST and not _OF_SENDER.search(before):
            yield _out_of_sentence(token)
        before = f"{before[-20:]} {token}"
    if category != decide.ADDRESS_SYNTAX:
        yield from _HOST.findall(text)


def _bare(given: str) -> str:
    """The address without a name, brackets or the dot of the root: no server looks up another host for these.

    >>> _bare("Joe <joe@example.org>"), _bare("joe@example.org.")
    ('joe@example.org', 'joe@example.org')
    """
    if _PLAIN.fullmatch(given):
        return given
    from email.utils import parseaddr

    return (parseaddr(given)[1] or given).rstrip(".")


def _out_of_sentence(token: str) -> str:
    """The address in a word of a text: without the punctuation around it and the Chinese sentence that goes on beside it.

    >>> _out_of_sentence("邮件未能送达joe@example.com。请检查"), _out_of_sentence("王@qq。com,")
    ('joe@example.com', '王@qq。com')
    """
    local, at, typed = re.split(rf"([{_AT}]+)", token, maxsplit=1)
    local = _SENTENCE_BEFORE.sub("", local) or local
    return f"{local}{at}{_SENTENCE_GOES_ON.sub('', typed)}".strip(_ENDS).rstrip(".。")


# --- the address ------------------------------------------------------------------------------------------------

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_ILLEGAL = re.compile(r"[^\w.!#$%&'*+/=?^`{|}~@-]", re.ASCII)
_FULL_STOPS = str.maketrans("。、·", "...")  # NFKC leaves these as they are
_HAN_AROUND = re.compile(rf"^[{_HAN}\s]+|[{_HAN}\s]+$")
_SENTENCE_BEFORE = re.compile(rf"^.*[{_HAN}]")
_SENTENCE_GOES_ON = re.compile(rf"[。，、；：！？）》」”]*[{_HAN}].*")
_PLAIN = re.compile(r"[a-z0-9._+-]+@((?!www\.)(?:[a-z0-9-]+\.)+[a-z]{2,24})", re.IGNORECASE)  # an address that needs no tidying
_MASKED = re.compile(r"[*#]+")  # a local part that a web page hid
_WRONG_DOTS = re.compile(r"[.,;/\\]+")


@lru_cache(maxsize=4096)
def address(written: str) -> str | None:
    """Return the address or domain that was meant by a written one, or None where that is as it should be or nobody can tell.

    >>> address("joe＠gmail．com"), address("mailto:joe@gmail,com"), address("joe@gmail.com"), address("joe@example.org")
    ('joe@gmail.com', 'joe@gmail.com', None, None)
    """
    if (plain := _PLAIN.fullmatch(written)) and domain(plain[1].lower()) is None:
        return None
    local, at, typed = _tidy(written)
    if _MASKED.fullmatch(local):
        return domain(typed)
    found = f"{local}{at}{domain(typed) or typed}"
    if found.lower() == written.strip().lower() or not (_is_valid(found) if at else _is_alone(written)):
        return None
    return found


def _tidy(written: str) -> tuple[str, str, str]:
    """Local part, "@" and domain in plain characters, without what stands around them."""
    plain = unicodedata.normalize("NFKC", written).translate(_FULL_STOPS)
    plain = plain.rpartition("<")[2].partition(">")[0].strip()
    plain = re.sub(r"^mailto:", "", plain, flags=re.IGNORECASE).partition("?subject=")[0].strip(f"{_ENDS} ")
    local, at, typed = plain.rpartition("@" if "@" in plain else "#")
    local = local.rstrip("@").strip("'\" ")
    local = _HAN_AROUND.sub("", local) or local
    typed = _WRONG_DOTS.sub(".", "".join(typed.split())).strip(".").lower()
    return local, at and "@", typed.removeprefix("www.")


def _is_alone(written: str) -> bool:
    """Say whether a domain was written without an address."""
    return not any(at in written for at in _AT)


def _is_valid(found: str) -> bool:
    from email_validator import EmailNotValidError, validate_email

    try:
        validate_email(found, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


# --- the domain -------------------------------------------------------------------------------------------------

# The shortest name in which a slip is believed: most short names are somebody's domain.
_SHORTEST = {"doubled": 2, "swapped": 4, "half": 4, "neighbour": 4, "missing": 5, "extra": 5, "wrong": 5, "two": 7}
_LONGER_BY_WEIGHT = {3: 0, 2: 1, 1: 2}  # letters more for a domain that fewer write to
_LONGER_AT_FRONT = 2  # people seldom get the first letter wrong
_FARTHEST = 4  # edits between whole domains: another suffix
_MOST = 2  # cost of the slips
_KEYS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_SECOND_LEVEL = frozenset(("ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"))


@lru_cache(maxsize=4096)
def domain(typed: str) -> str | None:
    """Return the known mail domain that was meant by a typed one; None where it is known itself or none is near enough.

    >>> domain("hotmial.com"), domain("163.con"), domain("qq.cm"), domain("gmailcom"), domain("mail.com"), domain("zdl.net")
    ('hotmail.com', '163.com', 'qq.com', 'gmail.com', None, None)
    """
    known = tables.mail_domains()
    labels = typed.split(".")
    if any(".".join(labels[start:]) in known for start in range(len(labels))):
        return None
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    near = process.extract(typed, known.keys(), scorer=OSA.distance, score_cutoff=_FARTHEST, limit=None)
    ranked = sorted((cost, -known[name].weight, name) for name, _, _ in near if (cost := _cost(typed, known[name])))
    if not ranked or (len(ranked) > 1 and ranked[0][:2] == ranked[1][:2]):
        return None
    return ranked[0][2]


def _cost(typed: str, meant: MailDomain) -> tuple[int, int] | None:
    """What it takes to type this domain for that one, in all and in its name; None where it is not believed.

    A slip costs 1, two slips or another suffix 2.
    """
    from rapidfuzz.distance import OSA

    if not meant.weight:
        return None
    if _compact(typed) == _compact(meant.domain):
        return 1, 0
    if "." not in typed and meant.weight == 3 and OSA.distance(typed, _compact(meant.domain), score_cutoff=1) == 1:
        return 2, 1
    name, suffix = _split(meant.domain)
    costs = []
    for typed_name, typed_suffix in (typed.partition(".")[::2], _last(typed, suffix.count(".") + 1)):
        in_name = _name_cost(typed_name, name, meant.weight)
        in_suffix = _suffix_cost(typed_suffix, suffix, meant.weight)
        if in_name is not None and in_suffix is not None and in_name + in_suffix <= _MOST:
            costs.append((in_name + in_suffix, in_name))
    return min(costs, default=None)


def _compact(name: str) -> str:
    return name.replace(".", "").replace("-", "")


def _last(name: str, labels: int) -> tuple[str, str]:
    parts = name.split(".")
    return ".".join(parts[:-labels]), ".".join(parts[-labels:])


@cache
def _split(name: str) -> tuple[str, str]:
    """Name and suffix of a domain: ``yahoo`` and ``co.uk``."""
    labels = name.split(".")
    return _last(name, 2 if len(labels) > 2 and labels[-2] in _SECOND_LEVEL and len(labels[-1]) == 2 else 1)


def _name_cost(typed: str, meant: str, weight: int) -> int | None:
    from rapidfuzz.distance import OSA

    if typed == meant:
        return 0
    distance = OSA.distance(typed, meant, score_cutoff=2)
    if not typed or distance > 2:
        return None
    kind = "two" if distance == 2 else _slip(typed, meant)
    shortest = _SHORTEST[kind] + _LONGER_BY_WEIGHT[weight]
    if typed[0] != meant[0] and kind != "swapped":
        shortest += _LONGER_AT_FRONT
    return distance if len(meant) >= shortest else None


def _suffix_cost(typed: str, meant: str, weight: int) -> int | None:
    from rapidfuzz.distance import OSA

    if typed == meant:
        return 0
    if OSA.distance(typed, meant, score_cutoff=1) == 1 and not _is_country(typed, meant, weight):
        return 1
    if weight < 3:
        return None
    return 2 if typed else 1


def _is_country(typed: str, meant: str, weight: int) -> bool:
    """Say whether a suffix may be another country's rather than a slip; ``.cm`` for the ``.com`` of a large provider is a slip."""
    typed, meant = typed.rpartition(".")[2], meant.rpartition(".")[2]
    if typed == meant or len(typed) != 2:
        return False
    return typed != meant[::-1] if len(meant) == 2 else weight == 1


def _slip(typed: str, meant: str) -> str:
    """The kind of the one slip that parts two names.

    >>> _slip("gmial", "gmail"), _slip("gmaill", "gmail"), _slip("gmal", "gmail"), _slip("gmsil", "gmail")
    ('swapped', 'doubled', 'missing', 'neighbour')
    """
    from rapidfuzz.distance import Postfix, Prefix

    start = Prefix.similarity(typed, meant)
    end = Postfix.similarity(typed[start:], meant[start:])
    wrong, right = typed[start : len(typed) - end], meant[start : len(meant) - end]
    if not right:
        return "doubled" if start and typed[start - 1] == wrong else "extra"
    if not wrong:
        return "half" if start and meant[start - 1] == right else "missing"
    if len(wrong) == 2:
        return "swapped"
    return "neighbour" if _are_neighbours(wrong, right) else "wrong"


def _are_neighbours(one: str, other: str) -> bool:
    """Say whether two keys touch on a keyboard; each row stands half a key to the right of the one above."""
    places = [(row, keys.index(key)) for key in (one, other) for row, keys in enumerate(_KEYS) if key in keys]
    if len(places) < 2:
        return False
    (upper, left), (lower, right) = sorted(places)
    return (lower - upper, right - left) in ((0, 1), (1, -1), (1, 0))
