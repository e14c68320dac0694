"""Clients that ask at a steady rate over core NATS, each with a request id, and note all that comes back.

Core NATS tells nobody whether a request was taken. So every request is one that a client would wait for in vain.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import CHAT_MESSAGE, CHAT_RESPONSE, CHAT_STREAM, subject_for
from tests.benchmarks.figures import percentile

WORDS = ("Seven", "words", "are", "written", "one", "by", "one")
ANSWER = " ".join(WORDS)
FIRST_S, WORD_S = 0.05, 0.025
"""What the language model takes to its first word, and from one to the next."""
_USERS = 50
_LAST_S = 65.0
"""A client waits for as long as a request may take, and a little."""


@dataclass(slots=True)
class Asked:
    """A request and what came back.

    Attributes:
        sent_at: When it was sent, as the monotonic clock had it.
        first_at: When the first piece of its stream came; 0 while none has.
        answered_at: When its first final message came; 0 while none has.
        finals: Final messages that came.
        ends: Ends of its stream that came.
        text: Of its stream.
        error: What its client was told to have failed; empty for nothing.
    """

    sent_at: float
    first_at: float = 0.0
    answered_at: float = 0.0
    finals: int = 0
    ends: int = 0
    text: str = ""
    error: str = ""

    @property
    def is_twice(self) -> bool:
        """Whether something of its answer came twice."""
        return self.finals > 1 or self.ends > 1 or len(self.text) > len(ANSWER)

    @property
    def is_whole(self) -> bool:
        """Whether its stream was whole when the final message came."""
        return self.text == ANSWER


@dataclass(frozen=True)
class Tally:
    """What became of requests.

    Attributes:
        sent: How many there were.
        once: Those that were answered once.
        twice: Those of which something came twice.
        refused: Those that were answered with an error.
        lost: Those that nothing final came for.
        broken: Those that were answered once, and had a stream that was not whole.
        answer_s: Seconds to the final message, of all that have one.
        first_s: Seconds to the first word, likewise.
    """

    sent: int
    once: int
    twice: int
    refused: int
    lost: int
    broken: int
    answer_s: list[float]
    first_s: list[float]

    def at(self, percent: float) -> float:
        """Return a percentile of the seconds to the final message; not a number where there are none."""
        found = percentile(self.answer_s, percent)
        return float("nan") if found is None else found


def tally(asked: Iterable[Asked]) -> Tally:
    """Count what became of requests."""
    found = list(asked)
    twice = [one for one in found if one.is_twice]
    single = [one for one in found if one.finals and not one.is_twice]
    once = [one for one in single if not one.error]
    return Tally(
        sent=len(found),
        once=len(once),
        twice=len(twice),
        refused=len(single) - len(once),
        lost=sum(not one.finals for one in found),
        broken=sum(not one.is_whole for one in once),
        answer_s=[one.answered_at - one.sent_at for one in found if one.finals],
        first_s=[one.first_at - one.sent_at for one in found if one.first_at],
    )


@dataclass
class Chats:
    """Many users that ask over one connection.

    Attributes:
        client: The connection.
        asked: All that was asked, by request id.
    """

    client: Client
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Hear all answers from now on."""
        await self.client.subscribe(CHAT_RESPONSE.wildcard, cb=self._final)
        await self.client.subscribe(CHAT_STREAM.wildcard, cb=self._streamed)
        await self.client.flush()

    async def ask_steadily(self, at_least: int, rate: float, is_over: asyncio.Event) -> None:
        """Ask so many times a second, until something is over, and so many times in any case."""
        began = time.monotonic()
        number = 0
        while number < at_least or not is_over.is_set():
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await self.ask()
            number += 1

    async def until_answered(self) -> None:
        """Return when all is answered, or when nobody waits any more."""
        last = max((one.sent_at for one in self.asked.values()), default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(last + _LAST_S - time.monotonic()):
                while any(not one.finals for one in self.asked.values()):
                    self._changed.clear()
                    await self._changed.wait()
        # What is on its way may be something that came before.
        await asyncio.sleep(0.2)

    def sent_in(self, begin: float, end: float) -> list[Asked]:
        """Return what was asked in a time."""
        return [one for one in self.asked.values() if begin <= one.sent_at < end]

    def longest_silence_s(self, begin: float, end: float) -> float:
        """Return the longest time without an answer."""
        at = sorted(one.answered_at for one in self.asked.values() if begin <= one.answered_at < end)
        edges = [begin, *at, end]
        return max(later - sooner for sooner, later in itertools.pairwise(edges))

    async def ask(self) -> None:
        """Ask once; the users take turns."""
        request_id, user_id = uuid4().hex, f"user-{len(self.asked) % _USERS}"
        request = messages_pb2.ChatRequest(
            request_id=request_id,
            user_id=user_id,
            message="What is written?",
            system_prompt=told(ANSWER, FIRST_S, WORD_S),
            enable_streaming=True,
        )
        self.asked[request_id] = Asked(time.monotonic())
        await self.client.publish(subject_for(CHAT_MESSAGE, user_id=user_id), request.SerializeToString())

    async def _final(self, message: Msg) -> None:
        one = self.asked.get(message.subject.rsplit(".", 1)[-1])
        if one is None:
            return
        response = messages_pb2.ChatResponse.FromString(message.data)
        one.answered_at = one.answered_at or time.monotonic()
        one.finals += 1
        one.error = "" if response.success else response.error or "no reason"
        self._changed.set()

    async def _streamed(self, message: Msg) -> None:
        chunk = messages_pb2.ChatStreamChunk.FromString(message.data)
        one = self.asked.get(chunk.request_id)
        if one is None:
            return
        one.first_at = one.first_at or time.monotonic()
        one.ends += chunk.done
        one.text += chunk.content


def told(answer: str, first_s: float, token_s: float) -> str:
    """Return the system prompt that tells the language model of `timed_models` what to write."""
    return json.dumps({"first_s": first_s, "token_s": token_s, "answer": answer})


def errors(asked: Iterable[Asked]) -> Mapping[str, int]:
    """Return how often each error was told."""
    found: dict[str, int] = {}
    for one in asked:
        if one.error:
            found[one.error] = found.get(one.error, 0) + 1
    return found
