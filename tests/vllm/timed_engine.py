"""Engines of `ray.serve.llm` that write down when each chat began, made its first token, and ended.

The clock is `time.monotonic`, which all processes of a machine share.
"""

import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDS_VARIABLE = "HEARTH_TEST_ENGINE_RECORDS"
"""Environment variable that holds the file for the records."""
STORY = "Tell me"
"""How a question begins whose answer ends only at its limit of tokens."""


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat in the engine.

    Attributes:
        asked: The last message.
        begun: When the engine was asked.
        first: When it made its first token; None where it made none.
        aborted: When the engine was told to stop it; None where it ended by itself.
        process_id: Of the replica.
        prompt_tokens: Of the prompt; 0 where the engine did not come to tell it.
        cached_tokens: Of these, what the prefix cache held.
    """

    asked: str
    begun: float
    first: float | None
    aborted: float | None
    process_id: int
    prompt_tokens: int = 0
    cached_tokens: int = 0


def timed(engine: type[Any]) -> type[Any]:
    """Return an engine that does what another does and writes down its chats."""

    class TimedEngine(engine):
        async def chat(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any]:
            asked = request.messages[-1]["content"]
            chat: dict[str, Any] = {"asked": asked, "begun": time.monotonic(), "first": None, "aborted": None}
            chat["process_id"] = os.getpid()
            if asked.startswith(STORY):
                request.ignore_eos = True
            self.prepare(request, chat)
            ended = False
            try:
                async with aclosing(super().chat(request, raw_request_info)) as items:
                    async for item in items:
                        chat["first"] = chat["first"] or time.monotonic()
                        _note_usage(chat, item)
                        # Who has read this asks for nothing more.
                        ended = isinstance(item, str) and item.startswith("data: [DONE]")
                        yield item
            finally:
                self.finish(request, chat, ended=ended)

        def prepare(self, request: Any, chat: dict[str, Any]) -> None:
            """Take note of a chat that begins."""

        def finish(self, request: Any, chat: dict[str, Any], *, ended: bool) -> None:
            """Write down a chat that ended by itself, or was left."""
            write(chat | {"aborted": None if ended else time.monotonic()})

    return TimedEngine


def write(chat: dict[str, Any]) -> None:
    """Append a record; one short line is written whole."""
    with Path(os.environ[RECORDS_VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(chat) + "\n")


def chats(file: Path) -> list[Chat]:
    """Return the records of a file, in the order in which the chats ended."""
    return [Chat(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _note_usage(chat: dict[str, Any], item: Any) -> None:
    if not isinstance(item, str) or '"prompt_tokens"' not in item:
        return
    usage = json.loads(item.removeprefix("data:")).get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    chat["prompt_tokens"] = usage.get("prompt_tokens", 0)
    chat["cached_tokens"] = details.get("cached_tokens") or 0
