"""The reply subjects of requests that a stream keeps: heard as they are noted, else looked up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bridges.nats.answer_store import ASKERS_KEPT, AskerNote
from bridges.nats.asker_notes import AskerNotes, of_request

SENT_AT = 1_000.0


@dataclass
class Bucket:
    """Keeps notes, and tells them when it is asked to."""

    kept: dict[str, list[AskerNote]] = field(default_factory=dict[str, list[AskerNote]])
    looked_up: list[str] = field(default_factory=list[str])
    listeners: list[Callable[[str, AskerNote], None]] = field(default_factory=list[Callable[[str, AskerNote], None]])

    async def note_asker(self, request: str, reply_subject: str, heard_at: float) -> AskerNote:
        note = AskerNote(f"{request}-{len(self.kept.get(request, ()))}", reply_subject)
        self.kept.setdefault(request, []).append(note)
        return note

    async def hear_askers(self, heard: Callable[[str, AskerNote], None]) -> None:
        self.listeners.append(heard)

    async def askers(self, request: str, remaining_s: Callable[[], float]) -> tuple[AskerNote, ...]:
        self.looked_up.append(request)
        return tuple(self.kept.get(request, ()))

    def tell(self, request: str, note: AskerNote) -> None:
        for heard in self.listeners:
            heard(request, note)


async def notes_of(bucket: Bucket, lifetime_s: float = 60.0) -> AskerNotes:
    notes = AskerNotes(bucket, lifetime_s)
    await notes.listen()
    return notes


async def found(notes: AskerNotes, request: str, age_s: float = 0.0) -> list[str]:
    return [note.reply_subject for note in await notes.find(request, age_s, SENT_AT, lambda: 1.0)]


async def test_what_was_noted_here_is_known_at_once_and_once() -> None:
    bucket = Bucket()
    notes = await notes_of(bucket)
    await notes.note("r", "_INBOX.a", SENT_AT)
    bucket.tell("r", bucket.kept["r"][0])
    assert await found(notes, "r") == ["_INBOX.a"]
    assert bucket.looked_up == []


async def test_a_note_of_another_replica_is_waited_for() -> None:
    bucket = Bucket()
    notes = await notes_of(bucket)
    finding = asyncio.create_task(found(notes, "r"))
    await asyncio.sleep(0)
    bucket.tell("r", AskerNote("n", "_INBOX.b"))
    assert await finding == ["_INBOX.b"]
    assert bucket.looked_up == []


async def test_what_was_heard_before_this_replica_came_is_looked_up_at_once() -> None:
    bucket = Bucket(kept={"r": [AskerNote("n", "_INBOX.c")]})
    notes = await notes_of(bucket)
    assert await found(notes, "r", age_s=5.0) == ["_INBOX.c"]
    assert bucket.looked_up == ["r"]


async def test_a_request_that_nobody_heard_has_none() -> None:
    assert await found(await notes_of(Bucket()), "r", age_s=5.0) == []


async def test_of_one_that_is_given_out_again_all_are_found_each_once() -> None:
    known, missed = AskerNote("n1", "_INBOX.a"), AskerNote("n2", "_INBOX.b")
    bucket = Bucket(kept={"r": [missed, known]})
    notes = await notes_of(bucket)
    bucket.tell("r", known)
    assert await notes.find_all("r", lambda: 1.0) == (missed, known)


def test_a_note_is_of_the_request_that_was_sent_when_it_was_heard() -> None:
    """What was sent before may not have been kept: nobody waits for its answer any more."""
    old, before, own, behind = (AskerNote.made("_INBOX.a", SENT_AT + seconds) for seconds in (-2.5, -1.0, 0.1, 5.0))
    assert of_request((old, before, behind, own), SENT_AT) == (own, before, behind)


async def test_a_note_that_an_equal_request_was_taken_with_is_not_the_next_one_s() -> None:
    first, second = (AskerNote.made(f"_INBOX_USER.{user}.x", SENT_AT) for user in ("ada", "bob"))
    bucket = Bucket()
    notes = await notes_of(bucket)
    bucket.tell("r", first)
    notes.take("r", first)
    finding = asyncio.create_task(found(notes, "r"))
    await asyncio.sleep(0)
    bucket.tell("r", second)
    assert await finding == ["_INBOX_USER.bob.x"]


async def test_the_last_of_many_are_remembered() -> None:
    bucket, told = Bucket(), [AskerNote(str(number), "_INBOX.a") for number in range(ASKERS_KEPT + 5)]
    notes = await notes_of(bucket)
    for note in told:
        bucket.tell("r", note)
    assert notes.known("r") == tuple(told[5:])


async def test_what_is_old_is_forgotten() -> None:
    bucket = Bucket()
    notes = await notes_of(bucket, lifetime_s=0.0)
    bucket.tell("old", AskerNote("n1", "_INBOX.a"))
    bucket.tell("new", AskerNote("n2", "_INBOX.b"))
    assert notes.known("old") == ()


async def test_a_note_that_comes_behind_the_answer_is_told() -> None:
    bucket, late = Bucket(), list[AskerNote]()
    notes = await notes_of(bucket)
    bucket.tell("r", AskerNote("n1", "_INBOX.a"))
    notes.answered("r", late.append)
    for note in (AskerNote("n1", "_INBOX.a"), AskerNote("n2", "_INBOX.b"), AskerNote("n2", "_INBOX.b")):
        bucket.tell("r", note)
    assert late == [AskerNote("n2", "_INBOX.b")]
