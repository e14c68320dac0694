"""Which words a client is shown, and which become final, where the models contradict themselves."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from deployments.call import Call
from deployments.listening.transcription import Transcription
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    Transcript,
    TranscriptQuality,
    TurnEnding,
    Utterance,
)
from deployments.values.status import ComponentStatus
from tests.conversation.scene import ReadingTranscription, Scene, scene, square_voice
from tests.conversation.script import Says, Script, ends, play, starts
from tests.conversation.virtual_clock import run_virtually

T = TypeVar("T")


@dataclass
class Model:
    """Hears the next of its texts in whatever is said, the last for all that follows.

    Attributes:
        partials: What it hears while somebody speaks, and in which language; that is only told where it is detected.
        final: What it hears afterwards, likewise.
        asked: In which language it was to hear.
    """

    partials: list[tuple[str, str]]
    final: tuple[str, str] = ("", "")
    completion_sounds: float | None = None
    asked: list[tuple[TranscriptQuality, str]] = field(default_factory=list[tuple[TranscriptQuality, str]])

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        self.asked.append((effort, utterance.language))
        await asyncio.sleep(0.05)
        if effort is TranscriptQuality.FINAL:
            text, language = self.final
        else:
            text, language = self.partials.pop(0) if len(self.partials) > 1 else self.partials[0]
        return Transcript(text, utterance.language or language)

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        return self.completion_sounds

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        raise AssertionError("no recording is transcribed here")

    async def status(self, call: Call) -> ComponentStatus:
        raise AssertionError("nobody asks how it does")


def virtually(work: Coroutine[Any, Any, T]) -> T:
    return run_virtually(work)


def heard_by(model: Model, *said: Says) -> Scene:
    """Say things to a session whose words a model finds."""

    class Hearing(ReadingTranscription):
        service = Transcription(model)

        async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
            return await self.service.hear(call, utterance, agreement)

        async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
            return await self.service.conclude(call, utterance, judge_turn)

    async def run() -> Scene:
        async with scene(Hearing()) as stage:
            await play(Script([starts(), *said, ends(12.0)]), stage.wire, "s", square_voice)
            await asyncio.sleep(3)
            return stage

    return virtually(run())


SENTENCE = Says(0.5, "a few words that last for some time")


class TestLanguages:
    def test_half_a_word_in_a_script_that_the_language_lacks_is_not_shown(self) -> None:
        stage = heard_by(Model([("以", "en"), ("Yes.", "en")], ("Yes.", "en")), SENTENCE)
        assert stage.partials("s") == ["Yes."]
        assert stage.finals("s") == ["Yes."]

    def test_a_language_is_looked_for_until_it_is_sure(self) -> None:
        model = Model([("Ja", ""), ("Ja gut", ""), ("Ja gut so", "de")], ("Ja, gut so.", "de"))
        heard_by(model, SENTENCE)
        partials = [language for effort, language in model.asked if effort is TranscriptQuality.PARTIAL]
        assert partials[:3] == ["", "", ""]
        assert set(partials[3:]) == {"de"}

    def test_what_is_too_short_to_tell_is_in_the_language_that_was_heard_before(self) -> None:
        model = Model([("Ja gut", "de")], ("Ja, gut so.", "de"))
        heard_by(model, SENTENCE, Says(7.0, "ja"))
        finals = [language for effort, language in model.asked if effort is TranscriptQuality.FINAL]
        assert finals == ["", "de"]


class TestFinals:
    @pytest.mark.parametrize(
        ("partial", "final", "published"),
        [
            ("B 7 K 9 9", "b 7 k", "B 7 K 9 9"),
            ("My code is B7K99", "My code is b7k99.", "My code is B7K99."),
            ("Stop.", "", "Stop."),
            ("How long do you", "How long do you keep it?", "How long do you keep it?"),
        ],
    )
    def test_are_no_worse_than_what_was_shown(self, partial: str, final: str, published: str) -> None:
        assert heard_by(Model([(partial, "en")], (final, "en")), SENTENCE).finals("s") == [published]


class TestNumbersInBreaths:
    def test_are_one_turn(self) -> None:
        model = Model([("My number is 555", "en")], ("My number is 555.", "en"), completion_sounds=0.95)
        stage = heard_by(model, Says(0.5, "my number is five five five"), Says(3.5, "one two three"))
        assert len(stage.finals("s")) == 1

    def test_other_sentences_that_sound_finished_are_not_waited_for(self) -> None:
        model = Model([("It is late", "en")], ("It is late.", "en"), completion_sounds=0.95)
        stage = heard_by(model, Says(0.5, "my number is five five five"), Says(3.5, "one two three"))
        assert len(stage.finals("s")) == 2


def test_a_turn_does_not_end_while_its_words_are_on_their_way() -> None:
    """Under load they come after the silence that ends a turn of which nothing is known."""

    class Slow(ReadingTranscription):
        async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
            ending = await super().conclude(call, utterance, judge_turn)
            return TurnEnding(ending.text, ending.language, 0.1)

    async def run() -> Scene:
        async with scene(Slow(final_s=(0.7,))) as stage:
            said = (Says(0.5, "my number is"), Says(2.6, "five five"))
            await play(Script([starts(), *said, ends(8.0)]), stage.wire, "s", square_voice)
            await asyncio.sleep(3)
            return stage

    assert len(virtually(run()).finals("s")) == 1
