"""What a reply's own words add to the cause and the remedy of its category: sizes, limits, names, codes, and how long to wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

from bounceml import tables, text

_REMEMBERED = 256  # texts: a report on many recipients repeats what befell them
_LOOKED_AT = 4096  # characters of a reply


class Details(NamedTuple):
    """Sentences that go behind those of the category, and what they are made of where it is a field of the verdict.

    ``retry_after`` counts seconds; ``blocklist`` is the zone.
    """

    cause: tuple[str, ...]
    remedy: tuple[str, ...]
    retry_after: int | None
    blocklist: str | None


NOTHING = Details((), (), None, None)


@lru_cache(_REMEMBERED)
def find(text: str, category: str, lang: str, lasting: bool) -> Details:
    """Return what a normalised reply tells besides its category.

    Parameters
    ----------
    text
        The reply, as ``text.normalise`` returns it.
    category
        Id of the verdict's category: no other's details are looked for.
    lang
        Language of the sentences, ``en`` or ``zh``.
    lasting
        Whether the failure is permanent: then nobody is asked to wait, whatever the words say.

    Examples
    --------
    >>> find("552 message size 12582912 exceeds size limit 10485760", "message_too_big", "en", True).cause
    ('The message has 12 MB; the limit is 10 MB.',)

    """
    text = text[:_LOOKED_AT]
    zone = blocklist(text) if category == "dnsbl_listed" else None
    delay = retry_after(text)
    cause, remedy, sentences = [], [], tables.details().sentences
    for detail, found in _hits(text.rpartition(" said: ")[2], category):
        places = _places(found)
        cause.extend([detail.cause[lang].format(**places)] if detail.cause else [])
        remedy.extend([detail.remedy[lang].format(**places)] if detail.remedy else [])
    if zone and (known := tables.blocklist_of(zone)):
        cause.append(sentences["blocklist"][lang].format(zone=zone))
        told = sentences["removal"] if known.page else sentences["closed"]
        remedy.append(told[lang].format(page=known.page))
    if delay is not None and not lasting:
        remedy.append(sentences["wait"][lang].format(delay=_duration(delay, lang)))
    return Details(tuple(cause), tuple(remedy), delay, zone)


def may_tell(wording: str, category: str) -> bool:
    """Say whether replies of this wording (see ``text.wording``) may have details; most have none, and ``find`` need not look."""
    if not (_details(category) or _may_hit(tables.details().wait.words, wording)):
        return False
    return not text.tells_all(wording) or find(wording, category, "en", lasting=False) != NOTHING  # no pattern minds the case of letters


def meaning(code: str, lang: str) -> str:
    """Return the sentence that tells what a provider's own code means.

    >>> meaning("HL:ICC", "en")
    'NetEase on HL:ICC: The sending IP has more connections open at one time than NetEase allows, and is barred for a time.'
    """
    known = tables.provider_codes()[code]
    return tables.details().sentences["code"][lang].format(provider=known.provider, code=known.code, meaning=known.meaning[lang])


@cache
def _details(category: str) -> list[tables.Detail]:
    return [detail for detail in tables.details().details if category in detail.categories]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _may_hit(words: tuple[str, ...], lower: str) -> bool:
    """Say whether a pattern may hit a text: it cannot where none of its words is there."""
    for word in words:  # a loop, as a generator in any() takes twice the time
        if word in lower:
            return True
    return not words


def _hits(text: str, category: str) -> Iterator[tuple[tables.Detail, re.Match[str]]]:
    """Yield the first detail of each topic that the text holds."""
    told = set()
    lower = text.lower()
    for detail in _details(category):
        if detail.topic not in told and _may_hit(detail.words, lower) and (found := _compiled(detail.pattern).search(text)):
            told.add(detail.topic)
            yield detail, found


# --- how a number is told ---------------------------------------------------------------------------------------


def _places(found: re.Match[str]) -> dict[str, str]:
    """The groups of a match as they are told; those named ``size`` or ``limit`` are bytes, or have a group with their unit."""
    groups = {name: value for name, value in found.groupdict().items() if value}
    return {name: _size(value, groups.get(f"{name}_unit")) if name in ("size", "limit") else value for name, value in groups.items()}


def _size(number: str, unit: str | None) -> str:
    """Return a size for people, in units of 1024.

    >>> _size("10485760", None), _size("12,345,678", "bytes"), _size("25", "mb"), _size("1.5", "G")
    ('10 MB', '11.8 MB', '25 MB', '1.5 GB')
    """
    letter = (unit or "b")[0].upper()
    if letter in "KMG":
        return f"{number.rstrip('.,')} {letter}B"
    count = float(re.sub(r"\D", "", number))
    for name in ("bytes", "KB", "MB", "GB"):
        if count < 1024 or name == "GB":
            break
        count /= 1024
    return f"{round(count, 1):g} {name}"


_STEPS = ((86400, "day", "天"), (3600, "hour", "小时"), (60, "minute", "分钟"), (1, "second", "秒"))


def _duration(seconds: int, lang: str) -> str:
    """Return a time span in the largest unit that counts it whole.

    >>> _duration(300, "en"), _duration(3600, "en"), _duration(90, "zh")
    ('5 minutes', '1 hour', '90 秒')
    """
    size, en, zh = next((step for step in _STEPS if seconds and seconds % step[0] == 0), _STEPS[-1])
    count = seconds // size
    return f"{count} {zh}" if lang == "zh" else f"{count} {en}{'' if count == 1 else 's'}"


# --- fields of the verdict --------------------------------------------------------------------------------------

_UNITS = {"s": 1, "m": 60, "h": 3600, "秒": 1, "分": 60, "小": 3600, "时": 3600, "時": 3600}
_HOST = r"(?<![a-z0-9.-])[a-z0-9][a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,63}){1,8}"


def retry_after(text: str) -> int | None:
    """Return how many seconds a reply asks to wait, where it says so.

    >>> retry_after("Greylisted, try again in 5 minutes")
    300
    """
    wait = tables.details().wait
    match = _compiled(wait.pattern).search(text) if _may_hit(wait.words, text.lower()) else None
    if not match:
        return None
    number, unit = (match[1], match[2]) if match[1] else (match[3], match[4])
    return int(number) * _UNITS[unit[0].lower()]


def blocklist(text: str) -> str | None:
    """Return the DNS blocklist zone that a reply names, or None.

    >>> blocklist("blocked using zen.spamhaus.org; see http://www.spamhaus.org/query/bl?ip=192.0.2.1")
    'zen.spamhaus.org'
    """
    for match in re.finditer(_HOST, text, re.IGNORECASE):
        host = match[0].lower()
        if tables.blocklist_of(host):
            return host.removeprefix("www.")
    return None
