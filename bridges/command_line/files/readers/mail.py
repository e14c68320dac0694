"""E-mail: its subject, who wrote when to whom, and its text."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email import message_from_string, policy
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
_ONE_BYTE = re.compile(r"(us-)?ascii|iso-?8859-\d+|windows-\d+|latin-?\d|cp\d+|unknown-8bit|utf-?8|")
"""Charsets that many programs name whatever they write."""
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_WORD = re.compile(r"\w+")
_SAME_SHARE = 0.6
"""Of the words of a text in one form that it has in another one, where both are the same text."""


def read_mail(file: Path) -> Extracted:
    """Read a message; the names of what is attached are told, not its content."""
    message = _message_of(file.read_bytes())
    if not any(message[name] for name in (*_SHOWN, "Subject")):
        raise InvalidRequestError("it is no e-mail: it has neither a sender nor a subject")
    subject = " ".join(str(message["Subject"] or "").split())
    reader = _MessageReader()
    text = "\n\n".join(reader.message(message))
    return Extracted(text, TextFormat.MARKDOWN, subject, tuple(dict.fromkeys(reader.guesses)))


def _message_of(content: bytes) -> EmailMessage:
    """Return a message, in whose head there may be letters beyond ASCII that nothing marks."""
    end = _END_OF_HEAD.search(content)
    size = end.end() if end else len(content)
    # As the library reads bytes; it gives them back for a part's encoding.
    body = content[size:].decode("ascii", "surrogateescape")
    return message_from_string(decode(content[:size]).text + body, policy=policy.default)


@dataclass(slots=True)
class _MessageReader:
    """Reads the parts of a message.

    Attributes:
        guesses: What was not sure in those that are read.
    """

    guesses: list[str] = field(default_factory=list[str])

    def message(self, message: EmailMessage) -> Iterator[str]:
        """Yield what a message says, after who wrote it."""
        said = (f"{name}: {' '.join(str(message[name]).split())}" for name in _SHOWN if message[name])
        yield escaped("; ".join(said))
        yield from self._part(message)

    def _part(self, part: EmailMessage) -> Iterator[str]:
        if part.get_content_type() == "message/rfc822":
            for inner in _inner(part):
                yield escaped(f"Subject: {inner['Subject'] or ''}")
                yield from self.message(inner)
        elif part.get_content_type() == "multipart/alternative" and part.is_multipart():
            yield from self._alternative(part)
        elif part.get_content_maintype() == "multipart" and part.is_multipart():
            for inner in _inner(part):
                yield from self._part(inner)
        elif _is_attached(part):
            if name := part.get_filename():
                yield escaped(f"Attached: {name}")
        elif text := self._text(part):
            yield text

    def _alternative(self, part: EmailMessage) -> Iterator[str]:
        """Yield one of several forms of a text: the plain one, unless another says what that one does not."""
        forms = [form for inner in _inner(part) if (form := list(self._part(inner)))]
        if not forms:
            return
        first, last = forms[0], forms[-1]
        said, of_last = _words(first), _words(last)
        yield from first if len(said & of_last) >= len(of_last) * _SAME_SHARE else last

    def _text(self, part: EmailMessage) -> str:
        content = cast("bytes | None", part.get_payload(decode=True)) or b""
        decoded = decode(content, _label(part, content))
        self.guesses += decoded.guesses
        return html_text(decoded.text).text if part.get_content_subtype() == "html" else _paragraphs(decoded.text)


def _inner(part: EmailMessage) -> Iterable[EmailMessage]:
    """Return the parts of a part; none where it is damaged."""
    return cast("Iterable[EmailMessage]", part.get_payload()) if part.is_multipart() else ()


def _is_attached(part: EmailMessage) -> bool:
    disposition = part.get_content_disposition()
    return (
        # What is damaged has several parts in its head alone.
        part.get_content_maintype() not in {"text", "multipart"}
        or disposition == "attachment"
        or (disposition == "inline" and part.get_filename() is not None)
    )


def _label(part: EmailMessage, content: bytes) -> str:
    """Return how a part names its encoding; empty where its bytes say something else."""
    label = str(part.get_content_charset() or "")
    if "ascii" in label:
        return ""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return label
    # By chance, letters of one byte are hardly ever UTF-8.
    return "" if _ONE_BYTE.fullmatch(label) else label


def _words(text: Iterable[str]) -> set[str]:
    return {word.lower() for block in text for word in _WORD.findall(block)}


def _paragraphs(text: str) -> str:
    """Return plain text as Markdown, its lines apart."""
    parts = (part.splitlines() for part in text.split("\n\n"))
    return "\n\n".join("  \n".join(escaped(line.strip()) for line in lines) for lines in parts).strip()
