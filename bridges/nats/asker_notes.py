"""Where requests are answered that a stream keeps: their reply subjects, which no stream does.

An ingress hears each request on core NATS, too, and notes its reply subject in the bucket. All ingresses hear the notes
as they are written, so whoever takes the request from the stream has it already, and looks in the bucket only where it
was not there to hear it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from bridges.nats.answer_store import ASKERS_KEPT, AskerNote

_LATE_S = 0.25
"""What a note may come later than the request that it is of."""
_EARLY_S = 2.0
"""What a note may be from before its request, as far as clocks of servers go. What is older is another request's."""
_SURELY_EARLY_S = 0.25
"""A note that is so much from before a request is another's, if one of its own comes."""
_MOST = 100_000
"""Requests whose notes are remembered; what is forgotten is still in the bucket."""


class KeptNotes(Protocol):
    """Where notes are kept; see `bridges.nats.answer_store.AnswerStore`."""

    async def note_asker(self, request: str, reply_subject: str, heard_at: float) -> AskerNote:
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
        taken: The names of those that a request was taken with here.
        awaited: Is set with the next one; None where nobody waits.
        late: Is told of further ones; None as long as it is not answered.
    """

    at: float
    notes: list[AskerNote] = field(default_factory=list[AskerNote])
    taken: set[str] = field(default_factory=set[str])
    awaited: asyncio.Event | None = None
    late: Callable[[AskerNote], None] | None = None


def of_request(notes: Iterable[AskerNote], sent_at: float) -> tuple[AskerNote, ...]:
    """Return those of some notes that may be a request's, the likeliest first: it was heard when it was sent.

    Args:
        notes: Of it, and of equal ones. Some of these may not have been kept, and nobody waits for their answers.
        sent_at: When it was sent, in seconds since 1970 by the server's clock.
    """
    late_s = {note: sent_at - (sent_at if note.heard_at is None else note.heard_at) for note in notes}
    return tuple(sorted((note for note in late_s if late_s[note] < _EARLY_S), key=lambda note: abs(late_s[note])))


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

    async def listen(self) -> None:
        """Hear from now on what is noted, by whichever replica."""
        await self._store.hear_askers(self._take)

    async def note(self, request: str, reply_subject: str, heard_at: float) -> None:
        """Keep that a request was heard here, with which reply subject, and when by the server's clock.

        Raises:
            nats.errors.Error: It was not sent.
        """
        self._take(request, await self._store.note_asker(request, reply_subject, heard_at))

    def known(self, request: str) -> tuple[AskerNote, ...]:
        """Return the reply subjects that were heard here, in their order."""
        heard = self._heard.get(request)
        return tuple(heard.notes) if heard else ()

    def fresh(self, request: str, sent_at: float) -> tuple[AskerNote, ...]:
        """Return the reply subjects of a request that were heard here and are of no equal one, the likeliest first."""
        heard = self._heard.get(request)
        if heard is None:
            return ()
        notes = of_request((note for note in heard.notes if note.name not in heard.taken), sent_at)
        return tuple(n for n in notes if n.heard_at is None or n.heard_at > sent_at - _SURELY_EARLY_S)

    def take(self, request: str, note: AskerNote) -> None:
        """Take a reply subject for a request: it is no other one's that is given out here."""
        self._entry(request).taken.add(note.name)

    async def find(
        self, request: str, age_s: float, sent_at: float, remaining_s: Callable[[], float]
    ) -> tuple[AskerNote, ...]:
        """Return the reply subjects of a request, the likeliest first; none where nobody heard it.

        Args:
            request: What it is known by to those that hear it.
            age_s: Seconds since it was sent: a note may still be on its way.
            sent_at: When that was, by the server's clock.
            remaining_s: Tells the seconds that the bucket has.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        if age_s < _LATE_S and not self.fresh(request, sent_at):
            await self._wait_for(request, sent_at, _LATE_S - age_s)
        notes = self.fresh(request, sent_at) or of_request(self.known(request), sent_at)
        return notes or of_request(await self._store.askers(request, remaining_s), sent_at)

    async def find_all(self, request: str, remaining_s: Callable[[], float]) -> tuple[AskerNote, ...]:
        """Return the reply subjects of a request, those that were noted before this replica was there among them.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        kept = await self._store.askers(request, remaining_s)
        return tuple(dict.fromkeys((*kept, *self.known(request))))

    async def _wait_for(self, request: str, sent_at: float, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not self.fresh(request, sent_at):
                    heard = self._entry(request)
                    heard.awaited = heard.awaited or asyncio.Event()
                    await heard.awaited.wait()
        except TimeoutError:
            # Nobody heard it, or whoever did is gone.
            return

    def answered(self, request: str, late: Callable[[AskerNote], None]) -> None:
        """Have it told if an answered request is heard with a further reply subject, by a replica that was slow.

        Args:
            request: What it is known by to those that hear it.
            late: Called with each of these.
        """
        self._entry(request).late = late

    def _take(self, request: str, note: AskerNote) -> None:
        heard = self._entry(request)
        if note in heard.notes:
            # What was noted here is told here, too.
            return
        heard.notes.append(note)
        if len(heard.notes) > ASKERS_KEPT:
            heard.taken.discard(heard.notes.pop(0).name)
        if heard.awaited:
            heard.awaited.set()
            heard.awaited = None
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
