"""Of a notice's prose, the lines that tell the cause: what servers and programs said, else the paragraphs that explain."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_MAX_TEXT = 2000

# A heading between the sections of a notice, such as Sendmail's "----- Transcript of session follows -----".
HEADING = re.compile(r"\s*(?:[-=*_|]{3}.*|[-=*_|]{2}.*[-=*_|]{2}|diagnostic information for administrators:?)\s*", re.IGNORECASE)

# What the other server said, in a transcript (one pattern an entry, with who writes it); group 1 is its reply.
_TRANSCRIPT = (
    r"(?:received\s+)?<<<\s*((?:[45]\d\d\b|[^\d\s]).*)",  # Sendmail, Courier, InterScan
    r"(?:.{0,60}[:\]]\s+)?<--\s*([45]\d\d\b.*)",  # MDaemon
    r"\(reason:\s*(.*?)\)?",  # Sendmail 8.10 and later
    r"Out:\s*([45]\d\d\b.*)",  # Postfix, to its postmaster
    r"((?:[45]\d\d)[ -](?:[45]\.\d{1,3}\.\d{1,3} )?<[^<>\s]+>\.\.\. .*)",  # Sendmail's own verdict
)
_SAID = re.compile(rf"\s*(?:{'|'.join(_TRANSCRIPT)})\s*", re.IGNORECASE)
# Sendmail's transcript also has what local programs said; the commands sent are no answer.
_TRANSCRIPT_BEGINS = re.compile(r"\s*--.*transcript of session", re.IGNORECASE)
_COMMAND = re.compile(r"\s*(?:(?:sent\s+)?>>>|(?:\.\.\. )?while talking|<<<)", re.IGNORECASE)
# What follows from an earlier reply, or is about another host: "Need RCPT" after all recipients were refused, "Bye".
_AFTERMATH = re.compile(r"503[ -]|2\d\d[ -]|\d{3} [^<@]*\.\.\. Deferred")

# A reply code where replies have one: before an enhanced code, behind words that introduce it, at the head of a line.
_REPLY = re.compile(
    r"(?<![\d.])[45]\d\d[ :#-]{1,3}\(?#?[45]\.\d{1,3}\.\d{1,3}\b"
    r"|\b(?:said|respon\w+|repl(?:y|ied)|returned|error|reason|failed with|failure|because)\b[^\n]{0,40}[\s:'\"\[(][45]\d\d[\s\-:]"
    r"|^\W*[45]\d\d[ -]\D",
    re.IGNORECASE | re.MULTILINE,
)
_STATUS = re.compile(r"(?<![\d.])[45]\.[0-7]\.\d{1,3}(?![\d.])")
# Words with which a notice introduces its cause, by language; a colon follows.
_LABELS = (
    r"reasons?(?: for| was| is)?|because|error(?: message| text| was| is)?|cause|problem appears|technical details|diagnostic",
    r"grund|fehler\w*|motivo|raison|motif|причин\w*",
    r"退信原因|失败原因|原因|错误(?:信息|代码|提示)?|英文说明|說明",
    r"エラー(?:内容|メッセージ)?|理由",
)
_HEADING_LABEL = r"^(?:退信|失败)原因$"  # on a line of its own, without a colon
_LABEL = re.compile(rf"(?:\b|(?<=[^A-Za-z]))(?:{'|'.join(_LABELS)})[^\n:：]{{0,40}}[:：]|{_HEADING_LABEL}", re.IGNORECASE | re.MULTILINE)
# Sentences that say that there was a failure or how to go on, and never why.
_MANNERS = re.compile(
    "|".join(
        (
            r"this is (?:the |an? (?:automat|permanent error))|created automatically|automatic(?:ally)? (?:generated|message|reply)",
            r"(?:be|been) delivered to (?:one|all)|be delivered to one or more|has (?:not yet )?been delivered|message was received at",
            r"i'm (?:sorry to have|afraid)|^sorry it didn't|best regards|mail system$|your message\s*$",
            r"no action is required|attempts? will continue|will be retried|kept in the queue",
            r"temporary failure report|warning message only",
            r"do not (?:need to )?re-?(?:send|ply)|please (?:include|contact|forward|send (?:mail|e-?mail)|do not)",
            r"for (?:further|more|additional) (?:assistance|information|help)|if you (?:do so|need|require|sent|have|believe|continue)",
            r"^subject:|subject of the message is|message identifier is|^(?:date|from|sent|message-id):",
            r"请勿回复|请不要回复|自动(?:发送|生成|回复)|感谢您?使用|建议(?:您|解决)|温馨提示|系统邮件",
            r"このメールは.{0,40}自動|自動的に|お問い合わせ",
            r"создано автоматически|рекомендуем вам проверить|не может быть доставлено одному",
        )
    ),
    re.IGNORECASE,
)


def concise(prose: str) -> str:
    r"""Return the part of a notice that tells the cause.

    >>> concise("... while talking to mx.example.net.:\n>>> RCPT To:<joe@example.com>\n<<< 550 5.1.1 No such user")
    '550 5.1.1 No such user'
    """
    if said := _said(prose.split("\n")):
        return said
    paragraphs = _paragraphs(prose)
    telling = [text for text in paragraphs if _REPLY.search(text)]
    if says_nothing(" ".join(telling)):
        telling = [text for text in paragraphs if text in telling or _LABEL.search(text) or _STATUS.search(text)]
    if says_nothing(" ".join(telling)):
        telling = [text for text in paragraphs if text in telling or not _MANNERS.search(text)]
    return "\n".join(dict.fromkeys(telling))[:_MAX_TEXT].strip()


def opening(prose: str) -> str:
    """Return how a text begins that tells no cause."""
    return prose.strip()[:_MAX_TEXT]


def has_reply(prose: str) -> bool:
    """Return whether a server's reply stands in the prose, and not only an explanation of it."""
    return not says_nothing(_said(prose.split("\n"))) or bool(_REPLY.search(prose) or _STATUS.search(prose))


def _said(lines: Iterable[str]) -> str:
    """What the other servers and programs said in a transcript, each line once."""
    replies: dict[str, None] = {}
    inside = False
    for line in lines:
        if match := _SAID.fullmatch(line):
            replies[next(group for group in match.groups() if group is not None).strip()] = None
        elif _TRANSCRIPT_BEGINS.match(line):
            inside = True
        elif inside and line.strip() and not _COMMAND.match(line) and not HEADING.fullmatch(line):
            replies[line.strip()] = None
    telling = [reply for reply in replies if not says_nothing(reply) and not _AFTERMATH.match(reply)]
    return "\n".join(telling or filter(None, replies))[:_MAX_TEXT]


# What remains of a reply that tells no cause, once codes and addresses are gone.
_CODES = re.compile(r"\d+|#?[245]\.\d{1,3}\.\d{1,3}|<?[^\s<>]{1,320}@[^\s<>]+>?|[\W_]+")
_EMPTY_PHRASES = frozenset(
    {
        *("", "error", "unknown", "unknown error", "undeliverable", "rejected", "bounced", "deferred", "failed", "failure"),
        *("transaction failed", "delivery failed", "delivery error", "not delivered", "unable to deliver", "cannot deliver"),
        *("permanent failure", "temporary failure", "permanent error", "message rejected", "remote protocol error", "data format error"),
        *("undeliverable to", "could not be delivered to", "unable to deliver message to", "failed to deliver to", "delivery to failed"),
        *("system config error", "service unavailable", "other or undefined status"),
        *("message expired", "queue expired message expired", "delivery time expired"),
    }
)


@lru_cache(maxsize=256)  # a report on many recipients repeats what befell them
def says_nothing(reply: str) -> bool:
    """Return whether a reply is but codes and words for "it failed".

    >>> says_nothing("550 5.0.0"), says_nothing("553 5.3.5 system config error"), says_nothing("550 no such user")
    (True, True, False)
    """
    return len(reply) < 200 and " ".join(_CODES.sub(" ", reply).lower().split()) in _EMPTY_PHRASES


def _paragraphs(prose: str) -> list[str]:
    """The paragraphs without headings and indents; one that ends in a colon goes on in the next."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", prose):
        text = "\n".join(line.strip() for line in block.split("\n") if line.strip(" \t-=*_|") and not HEADING.fullmatch(line))
        if text and found and found[-1].endswith((":", "：")):
            found[-1] = text if _MANNERS.search(found[-1]) else f"{found[-1]}\n{text}"
        elif text:
            found.append(text)
    return found
