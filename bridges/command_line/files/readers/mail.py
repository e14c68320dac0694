"""E-mail: its subject, who wrote when to whom, and its text."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from bridges.command_line.files.readers.encoding import decode
from bridges.command_line.files.readers.extracted import Extracted
from bridges.command_line.files.readers.markdown_text import escaped
from bridges.command_line.files.readers.web_page import html_text
from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

_SHOWN = ("From", "To", "Cc", "Date")


def read_mail(file: Path) -> Extracted:
    """Read a message; the names of what is attached are told, not its content."""
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    if not any(message[name] for name in (*_SHOWN, "Subject")):
        raise InvalidRequestError("it is no e-mail: it has neither a sender nor a subject")
    subject = " ".join(str(message["Subject"] or "").split())
    return Extracted("\n\n".join(_blocks(message)), TextFormat.MARKDOWN, subject)


def _blocks(message: EmailMessage) -> Iterator[str]:
    said = (f"{name}: {' '.join(str(message[name]).split())}" for name in _SHOWN if message[name])
    yield escaped("; ".join(said))
    body = message.get_body(("plain", "html"))
    if body is not None:
        text = _decoded(cast("EmailMessage", body))
        yield html_text(text).text if body.get_content_subtype() == "html" else _paragraphs(text)
    for part in message.iter_attachments():
        if part.get_content_type() == "message/rfc822":
            inner = cast("EmailMessage", part.get_content())
            yield escaped(f"Subject: {inner['Subject'] or ''}")
            yield from _blocks(inner)
        elif name := part.get_filename():
            yield escaped(f"Attached: {name}")


def _decoded(body: EmailMessage) -> str:
    try:
        return str(body.get_content())
    except (LookupError, UnicodeDecodeError):
        # It names an encoding that there is not.
        return decode(cast("bytes", body.get_payload(decode=True))).text


def _paragraphs(text: str) -> str:
    """Return plain text as Markdown, its lines apart."""
    return "\n\n".join("  \n".join(escaped(line.strip()) for line in part.splitlines()) for part in text.split("\n\n"))
