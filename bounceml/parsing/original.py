"""Where a notice ends and the returned original begins. Words of the original are never judged (RFC 6522 section 3)."""

from __future__ import annotations

import re

# Lines that announce the returned original, one an entry, with who writes them. Dashes around a line are not part of it.
_MARKERS = (
    r"below this line is (?:a copy of )?the (?:message|original)",  # qmail and its clones, Yahoo
    r"enclosed is a copy of the message",  # qmail with the MIME patch
    r"this is a copy of (?:the|your) message",  # Exim
    r"(?:the )?(?:full |entire )?(?:message )?headers? (?:of the original message )?(?:is |are )?follow(?:s|ing)?",  # dma, 1&1, GMX
    r"the headers? of the (?:original|returned|undelivered) (?:message|mail)",  # 1&1, GMX
    r"(?:the |your )?(?:original|undelivered|returned|unsent|bounced|rejected) (?:message|mail|e-mail)(?: (?:text|headers?|body))?"
    r"(?: (?:is |are )?(?:follow(?:s|ing)?|attached|below|info))?",  # Sendmail, dma, Gmail, IMail, Exchange, Lotus and many gateways
    r"(?:message|mail) (?:text|contents?|body|not delivered|header) follows?",  # Smail, UUCP mailers
    r"(?:below|here) is a copy of the (?:original )?message",  # OpenSMTPD
    r"included is a copy of the message header",  # MX Logic
    r"start of (?:the )?(?:returned|original) message",  # X.400 gateways
    r"ursprüngliche nachricht|originalnachricht",  # German
    r"message d'origine|message original|mensaje original|mensagem original|messaggio originale",  # French, Spanish, Portuguese, Italian
    r"原始邮件(?:内容|信息|标头)?(?:如下)?|原邮件(?:内容|标头)?(?:如下)?|邮件原文|原始郵件",  # Chinese
    r"元のメッセージ|オリジナルメッセージ|原文",  # Japanese
    r"исходное сообщение|оригинал сообщения",  # Russian
)
_MARKER = re.compile(rf"[\s\-=*_|>+#]*(?:{'|'.join(_MARKERS)})\s*[.:：。]?[\s\-=*_|<+#]*", re.IGNORECASE)
# The unindented header of a mail: at least three of these fields in a row. Fields of a delivery report are not among them.
_HEADER_FIELD = re.compile(
    r"(?:return-path|received|delivered-to|envelope-to|from|to|cc|subject|date|message-id|mime-version|reply-to|sender|content-[\w-]+"
    r"|(?:x-google-)?dkim-signature|domainkey-signature|authentication-results|arc-[\w-]+|x-[\w-]+|user-agent|in-reply-to|references"
    r"|thread-[\w-]+|importance|list-[\w-]+|precedence|feedback-id|received-spf|errors-to|auto-submitted)[ \t]*:",
    re.IGNORECASE,
)
_ENOUGH_FIELDS = 3
_LONGEST_MARKER = 200


def split_original(text: str) -> tuple[str, str]:
    """Return what the notice itself says and what follows it of the original, by marker line or header block.

    A marker above any prose of the notice (a header that a gateway put first) does not count.
    """
    lines = text.split("\n")
    run, start = 0, 0
    for number, line in enumerate(lines):
        if _HEADER_FIELD.match(line):
            start = number if run == 0 else start
            run += 1
        elif not line.startswith((" ", "\t")) or run == 0:
            run = 0
        if run == _ENOUGH_FIELDS and _speaks(lines[:start]):
            return _cut(lines, start)
        if len(line) < _LONGEST_MARKER and _MARKER.fullmatch(line) and _speaks(lines[:number]):
            return _cut(lines, number + 1, number)
    return text, ""


def _cut(lines: list[str], original: int, notice: int | None = None) -> tuple[str, str]:
    end = original if notice is None else notice
    return "\n".join(lines[:end]).rstrip(), "\n".join(lines[original:])


def _speaks(lines: list[str]) -> bool:
    return any(line.strip(" \t-=*_") for line in lines)
