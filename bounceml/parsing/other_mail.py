"""Mail in a bounce mailbox that is no bounce: complaints, receipts, auto-replies, challenges, ordinary mail."""

from __future__ import annotations

import re

from bounceml.parsing import cause
from bounceml.parsing.parts import MAILS, Mail
from bounceml.values import Reply

# Reports of another kind, by content type or report-type (RFC 5965 section 2, RFC 8098 section 3).
_OTHER_REPORTS = frozenset({"message/feedback-report", "message/disposition-notification", "message/global-disposition-notification"})
_STATUS_REPORTS = frozenset({"message/delivery-status", "message/global-delivery-status"})

# Header fields that only an auto-responder sets, with who sets them. Auto-Submitted is not among them: bounces have it too.
_AUTO_REPLY_FIELDS = (
    "x-autoreply",  # Exim and Sieve recipes, cPanel
    "x-autorespond",  # autorespond for qmail
    "x-autoresponder",  # hosting panels
    "x-auto-response",  # Groupwise
    "x-ms-exchange-inbox-rules-loop",  # Exchange inbox rules
    "x-vacation",  # vacation(1) clones
    "x-mail-autoreply",  # Zimbra
    "x-fc-machinegenerated",  # FirstClass
    "x-gmx-autoreply",
    "x-out-of-office",
)
# The words of auto-replies, by language, behind any "Re:".
_AUTO_REPLY_SUBJECTS = (
    r"(?:automatic|auto(?:mated)?)[ -]?(?:reply|response|answer|responder)|auto\s*:|vacation (?:reply|notice)|on vacation|on leave\b",
    r"(?:i am |i'm |am |currently )?out[ -]of[ -](?:the )?office|ooo\s*[:-]|away from (?:my )?(?:office|mail|desk)",
    r"automatische (?:antwort|beantwoording)|abwesenheit\w*|abwesend",
    r"réponse automatique|absence du bureau|absent du bureau",
    r"respuesta autom\w+|fuera de (?:la )?oficina|resposta autom\w+|ausência|risposta automatica|fuori (?:sede|ufficio)",
    r"automatiskt svar|autosvar|frånvaro|automaattinen vastaus|poissa|automatisch antwoord|afwezig\w*|odpowiedź automatyczna",
    r"автоответ\w*|автоматический ответ|нет на месте",
    r"自动(?:回复|答复|应答)|自動(?:回覆|回復|答覆)|外出|休假|不在办公室",
    r"自動応答|自動返信|不在(?:通知|連絡|のお知らせ)?|부재중|자동 ?(?:응답|회신)",
)
_REPLY_PREFIX = r"^\W*(?:(?:re|aw|sv|tr|回复|答复)\s*[:：]\s*)*"
_AUTO_REPLY_SUBJECT = re.compile(rf"{_REPLY_PREFIX}(?:{'|'.join(_AUTO_REPLY_SUBJECTS)})", re.IGNORECASE)
_AUTO_REPLY_PROSE = re.compile(
    "|".join(
        (
            r"\b(?:i am|i'm|i will be|we are) (?:currently |now )?(?:out of (?:the )?office|away|on (?:\w+ )?(?:leave|vacation|holiday))\b",
            r"\bthis is an auto(?:mated|matic)? ?(?:reply|response)\b",
            r"\bthank you for (?:your (?:e-?mail|message|inquiry)|contacting)\b",
            r"自动回复|我(?:正在|已经)?(?:休假|外出|出差)|自動返信|不在にしております",
            r"ich bin (?:derzeit |zur zeit )?(?:nicht im büro|abwesend)|je suis (?:actuellement )?absent",
        )
    ),
    re.IGNORECASE,
)
# Feedback loops that send the complained-of mail without a report part, and DMARC's daily reports (RFC 7489 section 7.2.1.1).
_COMPLAINT_SUBJECTS = (
    r"\bcomplaint about message from\b",  # Outlook.com's Junk Mail Reporting Program
    r"\b(?:abuse|spam|fbl|feedback loop) (?:report|complaint)\b",
    r"\bemail feedback report for ip\b",  # AOL
    r"\breport domain:.*submitter:",
)
_COMPLAINT_SUBJECT = re.compile("|".join(_COMPLAINT_SUBJECTS), re.IGNORECASE)
_COMPLAINT_PROSE = re.compile(r"^feedback-type[ \t]*:\s*[\w-]+|\bthis is an email abuse report for\b", re.IGNORECASE | re.MULTILINE)
_RECEIPT_SUBJECT = re.compile(
    r"^\W*(?:read|not read|gelesen|lu|leído|已读|未读|已讀|開封済み?|開封確認)\s*[:：]|\b(?:read|return) receipt\b", re.IGNORECASE
)
_CHALLENGES = (
    r"\b(?:confirm|verify|authenticate|validate) (?:that )?(?:you(?:r|rself)?\b.{0,40}(?:e-?mail|message|address|human|sender)|you are)",
    r"\bclick .{0,60}\b(?:to (?:deliver|release|prove|have your message)|so (?:that )?your message)\b",
    r"\bwaiting for (?:your )?(?:approval|confirmation|verification)|\bchallenge[ /-]response\b|\b(?:spam ?arrest|boxbe|tmda)\b",
    r"\bnot (?:yet )?(?:in|on) (?:my|their|his|her|the recipient's) (?:approved|allowed|guest|white) ?list",
    r"点击.{0,30}(?:验证|确认).{0,20}(?:发送|投递|邮件)",
)
_CHALLENGE = re.compile("|".join(_CHALLENGES), re.IGNORECASE | re.DOTALL)

# Signs of a bounce, from the envelope and the header: only a mail server speaks so.
_DAEMONS = (
    r"mailer[-_]?daemon|\bmaildaemon|\bmdaemon@|post[-_]?master|bounces?[-+@]|\bndr\b",
    r"mail(?:er)? ?(?:delivery|deliver) ?(?:sub)?system|mail[-_ ]?delivery|delivery[-_ ]?(?:system|agent|service)",
    r"mail administrator|system administrator|系统(?:管理员|退信)|邮件系统|退信",
)
_DAEMON = re.compile("|".join(_DAEMONS), re.IGNORECASE)
_BOUNCE_SUBJECTS = (
    r"undeliver|non[- ]?deliver|not (?:be )?delivered|un(?:able|deliver\w*) to (?:be )?deliver|delayed mail|rejected:|error sending",
    r"deliver\w* (?:status|failure|failed|problem|error|delay\w*|notification|report)|fail\w* (?:notice|delivery|to deliver)",
    r"returned (?:mail|message|to sender)|returning (?:to|message)|mail (?:system )?error|mail failed|message (?:delivery|delayed|not)",
    r"could not (?:be )?(?:deliver|send)|couldn't be|bounced?\b|(?:mail|message|delivery).{0,40}(?:fail|delay|reject|error)",
    r"退信|退回|退件|未送达|无法投递|投递失败|发送失败|未能(?:送达|投递)|傳送失敗|無法傳遞",
    r"配信(?:不能|エラー|失敗|できま)|送信(?:エラー|失敗)|エラーメール",
    r"unzustellbar|nicht zustellbar|zurück an absender|onbestelbaar|niet bezorgd|kan niet worden",
    r"non remis|échec (?:de|d)|no se puede entregar|no entregad|devuelt|não entregue|falha na entrega|mancata consegna",
    r"не ?доставлен\w*|невозможно доставить|не удалось доставить|задержка доставки|доставка отложена",
    r"zustellung(?:sfehler| verzögert| fehlgeschlagen)|bezorging vertraagd|remise retardée|entrega (?:retrasada|atrasada)",
    r"(?:consegna|recapito) ritardat\w|non recapitabile|niedostarczon\w|opóźnione dostarczenie|配信遅延|传递延迟|延迟通知",
)
_BOUNCE_SUBJECT = re.compile("|".join(_BOUNCE_SUBJECTS), re.IGNORECASE)
_FAILURES = (
    r"un(?:able|deliver)|not (?:be |been )?(?:deliver|sent)|(?:could|can)(?:not|n't| not)|fail(?:ed|ure)|reject|return|error|problem|delay",
    r"退信|退回|失败|无法|未能|延迟|できません|失敗|エラー|遅延|遅れて|не (?:может|удалось)|не ?доставлен|задерж",
    r"nicht (?:zugestellt|erreicht|zustellbar)|unzustellbar|verzöger|niet bezorgd|onbestelbaar|mislukt|vertraagd",
    r"échec|(?:non|pas) (?:encore )?(?:été )?remis|retard|no se (?:ha|pud|pued)|retras|não (?:é|foi|pôde)|falha|atras",
    r"non (?:è|riuscit|recapit)|ritard|nie (?:można|został|udało)|niedostarcz|opóźni",
)
_FAILS = re.compile("|".join(_FAILURES), re.IGNORECASE)
_PERSONAL = re.compile(r"^\W*(?:re|fwd?|aw|wg|sv|tr|回复|答复|转发|轉寄)\s*[:：]", re.IGNORECASE)


def read(mail: Mail) -> list[Reply]:
    """Return one reply with outcome ``not_a_bounce`` for a mail that is none, else nothing."""
    if _is_other_report(mail) or (not _is_status_report(mail) and (_is_automatic(mail) or not _is_bounce(mail))):
        return [Reply(cause.opening(mail.prose) or mail.headers.get("subject", ""), outcome="not_a_bounce")]
    return []


def may_forward(mail: Mail) -> bool:
    """Return whether a person attached mails, so that a bounce among them is what the mail is about.

    A mail server attaches what it returns, and an auto-responder what it answers.
    """
    if mail.types.isdisjoint(MAILS) or _is_other_report(mail) or _is_status_report(mail):
        return False
    return not (_from_server(mail) or _is_automatic(mail))


def _is_other_report(mail: Mail) -> bool:
    subject = mail.headers.get("subject", "")
    if mail.types & _OTHER_REPORTS:
        return not mail.status
    return not mail.status and bool(
        _COMPLAINT_SUBJECT.search(subject) or _COMPLAINT_PROSE.search(mail.prose) or _RECEIPT_SUBJECT.search(subject)
    )


def _is_status_report(mail: Mail) -> bool:
    return bool(mail.types & _STATUS_REPORTS) or "x-failed-recipients" in mail.headers


def _is_automatic(mail: Mail) -> bool:
    """Whether an auto-responder or a challenge-response filter wrote the mail."""
    headers = mail.headers
    if any(name in headers for name in _AUTO_REPLY_FIELDS) or _AUTO_REPLY_SUBJECT.search(headers.get("subject", "")):
        return True
    if _BOUNCE_SUBJECT.search(headers.get("subject", "")) or _DAEMON.search(headers.get("from", "")):
        return False
    if headers.get("auto-submitted", "").lower().startswith("auto-replied") or headers.get("precedence", "").lower() == "auto_reply":
        return True
    return bool(_AUTO_REPLY_PROSE.search(mail.prose[:4000]) or _CHALLENGE.search(mail.prose[:4000]))


def _from_server(mail: Mail) -> bool:
    return bool(_DAEMON.search(mail.headers.get("from", ""))) or _has_no_sender(mail)


def _has_no_sender(mail: Mail) -> bool:
    """Whether the envelope names no sender, as that of a notice must not (RFC 5321 section 4.5.5)."""
    return mail.headers.get("return-path", "").replace(" ", "") == "<>" or mail.headers.get("from", "").endswith("<>")


def _is_bounce(mail: Mail) -> bool:
    """Whether a mail server speaks: its name or an empty sender, with words of failure; without headers the words alone."""
    headers = mail.headers
    words = f"{headers.get('subject', '')}\n{mail.prose[:8000]}"
    if not headers or mail.prose.lstrip().startswith("{"):
        return True
    if _DAEMON.search(headers.get("from", "")):
        return bool(_FAILS.search(words) or mail.original)
    subject = _BOUNCE_SUBJECT.search(headers.get("subject", "")) and not _PERSONAL.search(headers.get("subject", ""))
    if _has_no_sender(mail):
        return bool(_FAILS.search(words))
    return bool(subject and _FAILS.search(mail.prose))
