"""The record of a turn: published on a subject of its session, and kept as a line of JSON where a file is named."""

import asyncio
import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats.errors
from google.protobuf.json_format import MessageToDict

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.nats.sender import Sender
from bridges.subjects import CONVERSATION_TURN, is_publishable, subject_for
from deployments.errors import PayloadTooLargeError
from deployments.settings.orchestration import TurnRecordSettings

logger = logging.getLogger(__name__)

TEXT_FIELDS = ("question", "answer", "heard")
"""What was said: in the file only where the settings ask for it."""


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """When an answer came, on the loop's clock; 0 for what never did.

    Attributes:
        asked_at: When it was begun.
        retrieve_s: Seconds that looking for passages took; None where nothing was looked for.
        passages: How many were found.
        first_token_at: When its text began.
        last_token_at: When its text ended.
        tokens: How many there are.
        first_sound_at: When its sound began.
        last_sound_at: When the last of its sound was made.
        sound_s: How long it lasts, in seconds.
        thought_tokens: How many tokens the model thought before it, by an estimate.
    """

    asked_at: float
    retrieve_s: float | None
    passages: int
    first_token_at: float
    last_token_at: float
    tokens: int
    first_sound_at: float
    last_sound_at: float
    sound_s: float
    thought_tokens: int = 0


@dataclass(slots=True)
class TurnStages:
    """What happened when in a turn: name, start and end on the loop's clock, and a detail."""

    stages: list[tuple[str, float, float, str]] = field(default_factory=list[tuple[str, float, float, str]])

    def add(self, name: str, start: float, end: float, detail: str = "") -> None:
        """Take note of a stage."""
        self.stages.append((name, start, end, detail))

    def moment(self, name: str, at: float, detail: str = "") -> None:
        """Take note of a moment."""
        self.add(name, at, at, detail)

    def answered(self, times: AnswerTimes) -> None:
        """Take note of the stages of an answer."""
        asked_at = times.asked_at
        if times.retrieve_s is not None:
            self.add("retrieve", asked_at, asked_at + times.retrieve_s, f"{times.passages} passages")
        if times.first_token_at:
            thoughts = f"about {times.thought_tokens} tokens of thought" if times.thought_tokens else ""
            self.add("think", asked_at, times.first_token_at, thoughts)
            self.add("write", times.first_token_at, times.last_token_at, f"{times.tokens} tokens")
        if times.first_sound_at:
            self.moment("first audio", times.first_sound_at)
            self.add("speak", times.first_sound_at, times.last_sound_at, f"{times.sound_s:.1f} s of sound")

    def extend(self, others: "TurnStages") -> None:
        """Take note of what others took note of."""
        self.stages.extend(others.stages)

    def messages(self, zero: float) -> list[conversation_pb2.TurnStage]:
        """Return the stages in the order in which they began, in milliseconds from `zero`."""
        ordered = sorted(self.stages, key=lambda stage: (stage[1], stage[2]))
        return [
            conversation_pb2.TurnStage(
                name=name, start_ms=round((start - zero) * 1000), end_ms=round((end - zero) * 1000), detail=detail
            )
            for name, start, end, detail in ordered
        ]


def unix_ms(at: float) -> int:
    """Return the Unix time, in milliseconds, of a time on the loop's clock."""
    return round((time.time() - (asyncio.get_running_loop().time() - at)) * 1000)


class TurnRecords:
    """Publishes and keeps the records of turns.

    A record that cannot be published or kept costs nobody an answer: the log says so.

    Args:
        settings: Where they are kept.
        with_text: Keep what was said, too.
    """

    def __init__(self, settings: TurnRecordSettings, *, with_text: bool) -> None:
        self._settings = settings
        self._with_text = with_text

    async def write(self, sender: Sender, record: conversation_pb2.TurnRecord) -> None:
        """Publish a record and append it to the file."""
        if is_publishable(record.session_id):
            subject = subject_for(CONVERSATION_TURN, session_id=record.session_id)
            try:
                await sender.send(subject, record)
            except (PayloadTooLargeError, nats.errors.Error) as error:
                logger.warning("a turn's record was not published: %s", error)
        if self._settings.file:
            line = json.dumps(self._as_dict(record), ensure_ascii=False)
            try:
                await asyncio.to_thread(_append, Path(self._settings.file), line, self._settings.max_bytes)
            except OSError as error:
                logger.warning("a turn's record was not kept in %s: %s", self._settings.file, error)

    def _as_dict(self, record: conversation_pb2.TurnRecord) -> dict[str, Any]:
        kept: dict[str, Any] = record_as_dict(record)
        if not self._with_text:
            for name in TEXT_FIELDS:
                kept.pop(name, None)
        return kept


def record_as_dict(record: conversation_pb2.TurnRecord) -> dict[str, Any]:
    """Return a record as it is written in JSON: every field, and times as numbers."""
    return MessageToDict(record, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _append(file: Path, line: str, max_bytes: int) -> None:
    """Append a line in one write, so that several processes can share the file; a full file becomes FILE.1."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = f"{line}\n".encode()
    if file.exists() and file.stat().st_size + len(data) > max_bytes:
        file.replace(file.with_name(f"{file.name}.1"))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
