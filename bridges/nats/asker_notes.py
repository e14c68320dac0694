"""Where requests are answered that a stream keeps: their reply subjects, which no stream does.

An ingress hears each request on core NATS, too, and notes its reply subject in the bucket. All ingresses hear the notes
as they are written, so whoever takes the request from the stream has it already, and looks in the bucket only where it
was not there to hear it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bridges.nats.answer_store import ASKERS_KEPT, AskerNote

_LATE_S = 0.25
"""What a note may come later than the request that it is of."""
_MOST = 100_000
"""Requests whose notes are remembered; what is forgotten is still in the bucket."""


class KeptNotes(Protocol):
    """Where notes are kept; see `bridges.nats.answer_store.AnswerStore`."""

    async def note_asker(self, request: str, reply_subject: str) -> AskerNote:
        """Keep that a request was heard, and with which reply subject."""
        ...

    async def hear_askers(self, heard: Callable[[str, AskerNote], None]) -> None:
        """Have each note told that is kept from now on, by whichever replica."""
        ...

    async def askers(self, request: str, remaining_s: Callable[[], float]) -> tuple[AskerNote, ...]:
        """Return the notes of a request, in the order in which it was heard."""
        ...


@dataclass(slots=True)
class _Heard:
    """What was heard of a request.

    Attributes:
        at: When it was heard first, in seconds of `time.monotonic()`.
        notes: With which reply subjects.
        late: Is told of further ones; None as long as it is not answered.
    """

    at: float
    notes: list[AskerNote] = field(default_factory=list[AskerNote])
    late: Callable[[AskerNote], None] | None = None


class AskerNotes:
    """The reply subjects of requests.

    Args:
        store: Keeps them.
        lifetime_s: Seconds for which they are remembered here.
    """

    def __init__(self, store: KeptNotes, lifetime_s: float) -> None:
        self._store = store
        self._lifetime_s = lifetime_s
        self._heard: dict[str, _Heard] = {}
        self._order: deque[str] = deque()
        self._awaited: dict[str, asyncio.Event] = {}

    async def listen(self) -> None:
        """Hear from now on what is noted, by whichever replica."""
        await self._store.hear_askers(self._take)

    async def note(self, request: str, reply_subject: str) -> None:
        """Keep that a request was heard here, and with which reply subject.

        Raises:
            nats.errors.Error: It was not sent.
        """
        self._take(request, await self._store.note_asker(request, reply_subject))

    def known(self, request: str) -> tuple[AskerNote, ...]:
        """Return the reply subjects that were heard here, in their order."""
        heard = self._heard.get(request)
        return tuple(heard.notes) if heard else ()

    async def find(self, request: str, age_s: float, remaining_s: Callable[[], float]) -> tuple[AskerNote, ...]:
        """Return the reply subjects of a request; none where nobody heard it.

        Args:
            request: What it is known by to those that hear it.
            age_s: Seconds since it was sent: a note may still be on its way.
            remaining_s: Tells the seconds that the bucket has.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        if age_s < _LATE_S and not self.known(request):
            await self._wait_for(request, _LATE_S - age_s)
        return self.known(request) or await self._store.askers(request, remaining_s)

    async def find_all(self, request: str, remaining_s: Callable[[], float]) -> tuple[AskerNote, ...]:
        """Return the reply subjects of a request, those that were noted before this replica was there among them.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        kept = await self._store.askers(request, remaining_s)
        return tuple(dict.fromkeys((*kept, *self.known(request))))

    async def _wait_for(self, request: str, seconds: float) -> None:
        event = self._awaited.setdefault(request, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            # Nobody heard it, or whoever did is gone.
            return
        finally:
            self._awaited.pop(request, None)

    def answered(self, request: str, late: Callable[[AskerNote], None]) -> None:
        """Have it told if an answered request is heard with a further reply subject, by a replica that was slow.

        Args:
            request: What it is known by to those that hear it.
            late: Called with each of these.
        """
        self._entry(request).late = late

    def _take(self, request: str, note: AskerNote) -> None:
        heard = self._entry(request)
        if len(heard.notes) >= ASKERS_KEPT or note in heard.notes:
            # What was noted here is told here, too.
            return
        heard.notes.append(note)
        if event := self._awaited.get(request):
            event.set()
        if heard.late:
            heard.late(note)

    def _entry(self, request: str) -> _Heard:
        now = time.monotonic()
        while self._order and (len(self._order) > _MOST or self._heard[self._order[0]].at < now - self._lifetime_s):
            del self._heard[self._order.popleft()]
        heard = self._heard.get(request)
        if heard is None:
            heard = self._heard[request] = _Heard(now)
            self._order.append(request)
        return heard
