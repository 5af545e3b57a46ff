"""The fact files and the one place that reads them; each is read and checked on first use.

taxonomy.toml   categories, groups and the documented rows, with cause and remedy in both languages, for the sender
audiences.toml  the same for the admin of the sending side and for the recipient; not read before one of them asks
rules.toml      patterns that vote for a category, each with its source, one text it hits and one it must miss
codes.csv       enhanced status codes (RFC 3463, IANA registry) and the category each stands for, where it stands for one
providers.csv   providers' own codes and their documented meaning, in English and Chinese
blocklists.csv  DNS blocklist zones and who runs them
mail_domains.csv  domains that people write to; weight 3: its name alone tells it, whatever suffix was typed; 2: large; 1: small;
                  0: closed, or known for something else, and never suggested
schemes.csv     what other tools call a verdict: the label by scheme and category; ``when`` names the outcome or permanence that a row is
                for, a row without it is for all others; an empty label says that the tool has none, as for a mail that is no bounce
details.toml    what a reply of a category may tell besides, and the sentences for it
policy.toml     what we advise where no document decides: how long a dead address stays on a suppression list (read by policy.py)
words_zh.txt    our word list for Chinese
concept_words.csv    words of the alphabets and the concept each stands for: forms between "|", without accents, a beginning
                     of words ends in "*"; in the rows of language "=", a form is two neighbouring concepts that are one
concept_phrases.csv  phrases searched for in languages that part their words by no blanks, or by too many
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from bounceml.errors import DataError
from bounceml.tables import compiled
from bounceml.values import Category, DocumentedRow, Texts

_HERE = Path(__file__).parent
LANGUAGES = ("en", "zh")
AUDIENCES = ("sender", "admin", "recipient")
PERMANENCES = ("permanent", "temporary", "by_code", "unknown")
ACTORS = ("sender", "sender_admin", "recipient", "recipient_admin", "nobody")
ACTIONS = (
    "suppress",
    "fix_address",
    "retry",
    "slow_down",
    "fix_message",
    "fix_sender",
    "ask_recipient",
    "contact_postmaster",
    "review",
    "none",
)


class When(NamedTuple):
    """A documented row takes verdicts of ``category`` whose template matches ``pattern``.

    Patterns stay text until one is needed: compiling all of them would cost each start 10 ms.
    """

    documented: str
    category: str
    pattern: str


class Taxonomy(NamedTuple):
    """Every category, group and documented row, keyed by id, in the order of the file."""

    groups: dict[str, dict[str, str]]
    categories: dict[str, Category]
    documented: dict[str, DocumentedRow]
    whens: tuple[When, ...]


class Rule(NamedTuple):
    """A pattern on templates that votes for a category; ``hit`` and ``miss`` are its proof, ``label`` what a user calls it."""

    id: str
    category: str
    pattern: str
    source: str
    hit: str
    miss: str
    label: str = ""


class Detail(NamedTuple):
    """What a reply of these categories may tell besides, and the sentences for it by language; see details.toml.

    One of the ``words`` is in every text that the pattern hits, in lower case.
    """

    topic: str
    categories: frozenset[str]
    pattern: str
    words: tuple[str, ...]
    cause: Mapping[str, str]
    remedy: Mapping[str, str]


class Wait(NamedTuple):
    """How replies say how long to wait; ``words`` as in ``Detail``."""

    pattern: str
    words: tuple[str, ...]


class Details(NamedTuple):
    """All details, how long to wait, and the sentences on the verdict's own fields by language."""

    details: tuple[Detail, ...]
    wait: Wait
    sentences: Mapping[str, Mapping[str, str]]


class ProviderCode(NamedTuple):
    """A code that a provider documents as its own (``MI:SPF``, ``5.7.509``) and what it stands for.

    ``meaning`` is a sentence for a person, by language. The code decides the category of any reply it stands in, so one that
    others use in another sense (``5.7.1``) is not in the table.
    """

    provider: str
    code: str
    category: str
    meaning: dict[str, str]
    source: str


class StatusCode(NamedTuple):
    """What an enhanced status code means, whatever its class, and where that is said."""

    meaning: str
    source: str


class Blocklist(NamedTuple):
    """A DNS blocklist: its zone or site, a short name of who runs it, and the page to look an address up; empty where it is closed."""

    zone: str
    operator: str
    source: str
    page: str


class MailDomain(NamedTuple):
    """A domain that people write to, and how sure it is that a near miss meant it: the weights are told at the head of this file."""

    domain: str
    provider: str
    country: str
    weight: int
    source: str


class ConceptForms(NamedTuple):
    """The forms of one language that stand for a concept, whatever the language; see the head of this file."""

    concept: str
    language: str
    forms: tuple[str, ...]


def open_table(name: str) -> IO[bytes]:
    """Open a fact file of this package for reading as bytes."""
    return (_HERE / name).open("rb")


def toml_of(path: Path) -> dict[str, Any]:
    """Return what a user's TOML file holds.

    Raises
    ------
    DataError
        Where it cannot be read, or is no TOML.

    """
    import tomllib  # 4 ms that who has no such file need not pay

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the name and its permissions") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise DataError(f"{path}: is no TOML file ({error}); see https://toml.io for what it looks like") from None


def _rows(name: str) -> Iterator[dict[str, str]]:
    header, *rows = compiled.read(name)
    return (dict(zip(header, row, strict=True)) for row in rows)


def _one_of(value: str, allowed: tuple[str, ...], where: str) -> str:
    if value not in allowed:
        raise DataError(f"taxonomy.toml, {where}: {value!r} is not one of {', '.join(allowed)}")
    return value


def _both(texts: dict[str, str], where: str, table: str = "taxonomy.toml") -> dict[str, str]:
    for language in LANGUAGES:
        if not texts.get(language):
            raise DataError(f"{table}, {where}: write the text in {language!r}")
    return {language: texts[language] for language in LANGUAGES}


def _category(block: dict[str, Any]) -> Category:
    name = block["id"]
    return Category(
        id=name,
        group=block["group"],
        name=_both(block["name"], f"{name}.name"),
        cause=_both(block["cause"], f"{name}.cause"),
        remedy=_both(block["remedy"], f"{name}.remedy"),
        permanence=_one_of(block["permanence"], PERMANENCES, name),
        who_acts=_one_of(block["who_acts"], ACTORS, name),
        action=_one_of(block["action"], ACTIONS, name),
        may_suppress=block["may_suppress"],
        documented=block.get("documented"),
    )


def _documented(block: dict[str, Any]) -> DocumentedRow:
    name = block["id"]
    return DocumentedRow(
        id=name,
        row=block["row"],
        name=_both(block["name"], f"{name}.name"),
        cause=_both(block["cause"], f"{name}.cause"),
        remedy=_both(block["remedy"], f"{name}.remedy"),
    )


@cache
def taxonomy() -> Taxonomy:
    """Return the taxonomy.

    Raises
    ------
    DataError
        Where the file names a group, row or category it does not define, or lacks a text in one language.

    """
    data = compiled.read("taxonomy")
    groups = {block["id"]: _both(block["name"], block["id"]) for block in data["group"]}
    categories = {block["id"]: _category(block) for block in data["category"]}
    documented = {block["id"]: _documented(block) for block in data["documented"]}
    whens = tuple(When(block["id"], when["category"], when["pattern"]) for block in data["documented"] for when in block.get("when", []))
    for category in categories.values():
        if category.group not in groups:
            raise DataError(f"taxonomy.toml, {category.id}: group {category.group!r} is not defined")
        if category.documented and category.documented not in documented:
            raise DataError(f"taxonomy.toml, {category.id}: documented row {category.documented!r} is not defined")
    for when in whens:
        if when.category not in categories:
            raise DataError(f"taxonomy.toml, {when.documented}: category {when.category!r} is not defined")
    return Taxonomy(groups, categories, documented, whens)


def documented_row(category: str, template: str) -> str | None:
    """Return the id of the documented row a verdict falls under, or None where the table has no row for it."""
    known = taxonomy()
    for when in known.whens:
        if when.category == category and re.search(when.pattern, template, re.IGNORECASE):
            return when.documented
    return known.categories[category].documented


@cache
def audience_texts() -> dict[str, dict[str, Texts]]:
    """Return cause and remedy for each audience but the sender, whose texts stand in the taxonomy, by category.

    Raises
    ------
    DataError
        Where a category or a text is missing.

    """
    blocks = compiled.read("audiences")
    return {audience: {name: _audience_texts(blocks, name, audience) for name in taxonomy().categories} for audience in AUDIENCES[1:]}


def _audience_texts(blocks: dict[str, Any], category: str, audience: str) -> Texts:
    block = blocks.get(category, {}).get(audience, {})
    cause, remedy = (_both(block.get(kind, {}), f"{category}.{audience}.{kind}", "audiences.toml") for kind in Texts._fields)
    return Texts(cause, remedy)


@cache
def rules() -> tuple[Rule, ...]:
    """Return the rules in the order of their file: the first that hits decides."""
    return tuple(
        Rule(block["id"], block["category"], block["pattern"], block["source"], block["hit"], block["miss"])
        for block in compiled.read("rules")["rule"]
    )


@cache
def details() -> Details:
    """Return what replies may tell besides their category, in the order of the file."""
    data = compiled.read("details")
    found = (
        Detail(
            block["topic"],
            frozenset(block["category"]),
            block["pattern"],
            tuple(block["words"]),
            block.get("cause", {}),
            block.get("remedy", {}),
        )
        for block in data["detail"]
    )
    return Details(tuple(found), Wait(data["wait"]["pattern"], tuple(data["wait"]["words"])), data["sentence"])


@cache
def status_codes() -> dict[str, str]:
    """Return the category that an enhanced status code stands for, keyed by its subject and detail ("1.1").

    Codes that say too little alone (X.0.0, X.7.1, …) have no category in the table and are left out.
    """
    return {row["code"]: row["category"] for row in _rows("codes") if row["category"]}


@cache
def status_meanings() -> dict[str, StatusCode]:
    """Return what each registered enhanced status code means, keyed as in ``status_codes``."""
    return {row["code"]: StatusCode(row["name"], row["source"]) for row in _rows("codes")}


@cache
def provider_codes() -> dict[str, ProviderCode]:
    """Return the providers' own codes, keyed by the code as it stands in a reply."""
    return {
        row["code"]: ProviderCode(
            row["provider"], row["code"], row["category"], {"en": row["meaning"], "zh": row["meaning_zh"]}, row["source"]
        )
        for row in _rows("providers")
    }


@cache
def _concept_words() -> dict[str, str]:
    found: dict[str, str] = compiled.read("concept_words")
    return found


@cache
def concept_words(letter: str) -> dict[str, str]:
    """Return the concepts of the forms that begin with a letter; "=": of two neighbouring concepts that are one, "not exist".

    >>> concept_words("f")["full"]
    'full'
    """
    return dict(line.rsplit(" ", 1) for line in _concept_words().get(letter, "").splitlines())


def concepts(kind: str) -> Iterator[ConceptForms]:
    """Yield the ``words`` of the alphabets or the ``phrases`` of the other languages by concept, in the order of the file."""
    with open_table(f"concept_{kind}.csv") as file:
        next(file)
        for line in file:  # no cell is quoted
            concept, language, forms = line.decode().rstrip().split(",")
            yield ConceptForms(concept, language, tuple(forms.split("|")))


@cache
def schemes() -> dict[str, dict[tuple[str, str], str]]:
    """Return the labels of each scheme, keyed by category and the outcome or permanence that a label is for ("": any)."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for row in _rows("schemes"):
        found.setdefault(row["scheme"], {})[row["category"], row["when"]] = row["label"]
    return found


def scheme_label(scheme: str, category: str, outcome: str, permanence: str) -> str:
    """Return what another tool calls a verdict; empty where it has no name for it.

    >>> scheme_label("ses", "mailbox_full", "delayed", "temporary"), scheme_label("powermta", "not_a_bounce", "delivered", "unknown")
    ('Transient/MailboxFull', '')
    """
    labels = schemes()[scheme]
    return next(labels[category, when] for when in (outcome, permanence, "") if (category, when) in labels)


@cache
def _blocklists() -> dict[str, Blocklist]:
    return {row["zone"]: Blocklist(**row) for row in _rows("blocklists")}


def blocklist_of(host: str) -> Blocklist | None:
    """Return the DNS blocklist that a lower-case host name belongs to, or None.

    >>> blocklist_of("zen.spamhaus.org").operator
    'spamhaus'
    """
    lists = _blocklists()
    labels = host.split(".")
    for start in range(len(labels) - 1):
        if found := lists.get(".".join(labels[start:])):
            return found
    return None


@cache
def mail_domains() -> dict[str, MailDomain]:
    """Return the known mail domains, keyed by domain."""
    return {
        row["domain"]: MailDomain(row["domain"], row["provider"], row["country"], int(row["weight"]), row["source"])
        for row in _rows("mail_domains")
    }
