"""What kinds of work requests are."""

from enum import StrEnum


class RequestKind(StrEnum):
    """The kinds of work that requests are, by whose places they take."""

    CONTROL = "control"
    """What is answered at once and holds no place: statuses, lists, logins, triggers of pipelines."""
    VOICE = "voice"
    """Recorded questions, and texts to speak."""
    CHAT = "chat"
    """Questions, and greetings."""
    INGESTION = "ingestion"
    """Documents that are put in and taken out."""
