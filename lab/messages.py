"""The mails that the lab sends, by name."""

from __future__ import annotations

# In two pieces, so that no file of this repository is itself a "virus".
_EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-" + "TEST-FILE!$H+H*"

_HEAD = (
    "From: {sender}\nTo: {to}\nSubject: {subject}\nDate: Mon, 3 Nov 2025 09:00:00 +0000\n"
    "Message-ID: <{id}@lab.example>\nMIME-Version: 1.0\n"
)
_PLAIN = "Content-Type: text/plain; charset=utf-8\n\n"
_WORDS = "Dear colleague,\n\nplease find the minutes below.\n\nRegards\n"
_SIGNATURE = (
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=wire.example; s=lab; h=from:to:subject;\n"
    " bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\n"
)


def make(kind: str, sender: str, to: str, number: str) -> bytes:
    """Return a mail of ``kind``, with CRLF line ends; ``number`` makes its Message-ID."""
    subject = {"lottery": "You won the lottery", "utf8": "Grüße aus Köln"}.get(kind, "Minutes of Tuesday")
    head = _HEAD.format(sender=sender, to=to, subject=subject, id=number) + _PLAIN
    body = _WORDS
    if kind in ("big", "huge"):
        body += "The quick brown fox jumps over the lazy dog, and again.\n" * (2000 if kind == "big" else 24000)
    elif kind == "eicar":
        head = head.replace(_PLAIN, 'Content-Type: multipart/mixed; boundary="part"\n\n')
        body = (
            f"--part\n{_PLAIN}{_WORDS}\n--part\nContent-Type: application/octet-stream; name=tool.com\n"
            f"Content-Disposition: attachment; filename=tool.com\n\n{_EICAR}\n--part--\n"
        )
    elif kind == "exe":
        head = head.replace(_PLAIN, 'Content-Type: multipart/mixed; boundary="part"\n\n')
        body = f'--part\n{_PLAIN}{_WORDS}\n--part\nContent-Type: application/octet-stream; name="setup.exe"\n\nMZ\n--part--\n'
    elif kind == "signed":
        head = _SIGNATURE + head
    elif kind == "forwarded":
        head = f"Delivered-To: {to}\n" + head
    elif kind == "hops":
        head = (
            "".join(f"Received: from h{n}.lab.example by h{n + 1}.lab.example; Mon, 3 Nov 2025 08:00:00 +0000\n" for n in range(60)) + head
        )
    elif kind == "watches":
        body += "cheap watches for everyone\n"
    elif kind == "longline":
        body += "word " * 3000 + "\n"
    return (head + body).replace("\n", "\r\n").encode()
