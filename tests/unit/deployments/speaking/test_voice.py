"""Answers that are spoken while they are written, and what is left of them when a part fails."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, UnavailableError
from deployments.speaking.voice import NOBODY_SPOKE, Voice
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken, ChatQuestion, Preparation
from deployments.values.retrieval import Passage
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    SpeechText,
    SpokenChunk,
    Transcript,
    TurnEnding,
    Utterance,
    Voices,
)
from deployments.values.status import ComponentStatus
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem, SpokenQuestion
from tests.conversation.virtual_clock import run_virtually

QUESTION = SpokenQuestion(ChatQuestion("Which one?"), voice="joe", language="en")
PASSAGES = (Passage("It is the first one.", "rules.md", score=0.9),)
TOKENS = ("It", " is", " the", " first", " one.", " The", " second", " is", " not", ".")


@dataclass
class TimedChat:
    """Writes a token every so often."""

    tokens: Sequence[str] = TOKENS
    token_s: float = 0.1
    end: AnswerEnd = field(default_factory=lambda: AnswerEnd(PASSAGES, used_retrieval=True))
    error: Exception | None = None
    asked: list[ChatQuestion] = field(default_factory=list[ChatQuestion])
    written: int = 0
    closed: bool = False

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        self.asked.append(question)
        try:
            for token in self.tokens:
                if self.token_s:
                    await asyncio.sleep(self.token_s)
                self.written += 1
                yield AnswerToken(token)
            if self.error:
                raise self.error
            yield self.end
        finally:
            self.closed = True

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        return Preparation(question.text)

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        yield 0

    async def greet(self, call: Call, name: str) -> str:
        raise AssertionError("nobody is greeted here")

    async def warm(self, call: Call) -> None: ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


@dataclass
class TimedSpeech:
    """Says each text in one chunk, after a while."""

    speak_s: float = 0.1
    error: HearthError | None = None
    fails_from: int = 0
    said: list[SpeechText] = field(default_factory=list[SpeechText])

    async def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        await asyncio.sleep(self.speak_s)
        if self.error and len(self.said) >= self.fails_from:
            raise self.error
        self.said.append(text)
        yield SpokenChunk(b"\1\0" * 800, 8000, text.text)

    async def voices(self, call: Call, rescan: bool) -> Voices:
        raise AssertionError("nobody asks for voices here")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


@dataclass
class Heard:
    """Hears one thing in every recording."""

    text: str = "Which one?"
    error: HearthError | None = None

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        raise AssertionError("nothing is heard live here")

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        raise AssertionError("nothing is heard live here")

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        await asyncio.sleep(1.0)
        if self.error:
            raise self.error
        return Transcript(self.text, "en", 1.0)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


def answer(
    chat: TimedChat | None = None, speech: TimedSpeech | None = None, heard: Heard | None = None
) -> list[tuple[float, SpokenAnswerItem]]:
    """Return the items of an answer, each with its time; with `heard`, of a recording."""

    async def run() -> list[tuple[float, SpokenAnswerItem]]:
        voice = Voice(heard or Heard(), chat or TimedChat(), speech or TimedSpeech())
        call, now = Call.within(60), asyncio.get_running_loop().time
        answers = voice.answer_recording(call, Recording(b"RIFF"), QUESTION) if heard else voice.answer(call, QUESTION)
        async with aclosing(answers) as items:
            return [(now(), item) async for item in items]

    return run_virtually(run())


def end_of(items: list[tuple[float, SpokenAnswerItem]]) -> SpokenAnswerEnd:
    end = items[-1][1]
    assert isinstance(end, SpokenAnswerEnd)
    return end


def times_of(items: list[tuple[float, SpokenAnswerItem]], kind: type[object]) -> list[float]:
    return [round(at, 3) for at, item in items if isinstance(item, kind)]


def test_the_chat_is_told_that_its_answer_is_heard() -> None:
    chat = TimedChat()
    answer(chat=chat)
    assert [question.spoken for question in chat.asked] == [True]


class TestOverlap:
    def test_the_first_sentence_is_said_while_the_second_is_being_written(self) -> None:
        items = answer()
        assert times_of(items, SpokenChunk) == [0.7, 1.1]
        assert times_of(items, AnswerToken) == [round(0.1 * at, 1) for at in range(1, 11)]

    def test_a_sentence_is_said_as_soon_as_the_space_behind_it_is_there(self) -> None:
        chat, speech = (
            TimedChat(("It", " is", " the", " first", " one. ", "The", " second", ".")),
            TimedSpeech(speak_s=0.0),
        )
        assert times_of(answer(chat, speech), SpokenChunk)[0] == 0.5

    def test_tokens_do_not_wait_for_a_slow_voice(self) -> None:
        assert times_of(answer(speech=TimedSpeech(speak_s=5.0)), AnswerToken)[-1] == 1.0

    def test_sound_goes_before_text_that_waits_and_every_token_stays_one(self) -> None:
        async def listen_late() -> list[SpokenAnswerItem]:
            chat, speech = TimedChat(TOKENS * 5, token_s=0.0), TimedSpeech()
            async with aclosing(Voice(Heard(), chat, speech).answer(Call.within(60), QUESTION)) as answering:
                items = [await anext(answering)]
                await asyncio.sleep(5)
                return items + [item async for item in answering]

        items = run_virtually(listen_late())
        assert [item.text for item in items if isinstance(item, AnswerToken)] == list(TOKENS * 5)
        assert [type(item) for item in items].index(SpokenChunk) < 5
        assert isinstance(items[-1], SpokenAnswerEnd)

    def test_the_end_of_the_text_is_told_before_the_end_of_the_speech(self) -> None:
        items = answer(speech=TimedSpeech(speak_s=5.0))
        assert times_of(items, AnswerEnd) == [1.0]
        assert times_of(items, SpokenAnswerEnd) == [10.6]

    def test_an_opening_clause_is_said_first_while_its_sentence_is_not_whole(self) -> None:
        chat, speech = TimedChat(("As far as", " I know", ", it", " is", " here", ".")), TimedSpeech()
        answer(chat, speech)
        assert [text.text for text in speech.said] == ["As far as I know,", "it is here."]

    def test_what_is_said_is_asked_for_in_the_voice_and_language_of_the_question(self) -> None:
        speech = TimedSpeech()
        answer(speech=speech)
        assert {(text.voice, text.language) for text in speech.said} == {("joe", "en")}

    def test_a_piece_without_a_word_is_not_said(self) -> None:
        chat, speech = TimedChat(("Yes.", "\n\n---\n\n", "No.")), TimedSpeech()
        assert end_of(answer(chat, speech)).error == ""
        assert [text.text for text in speech.said] == ["Yes.", "No."]

    def test_an_answer_is_read_as_markup_once_however_it_is_cut(self) -> None:
        written = "Use `<b>` for **this. And** that.\n\n```\nno. code\n```\n\nDone."
        for tokens in ((written,), tuple(written), (written[:20], written[20:])):
            speech = TimedSpeech()
            answer(TimedChat(tokens), speech)
            said = "\n".join(text.text for text in speech.said)
            assert said.splitlines() == ["Use <b> for this.", "And that.", "Done."]
            assert all(text.is_speakable for text in speech.said)

    def test_the_end_says_when_what_was_there(self) -> None:
        stages = end_of(answer()).stages
        assert list(stages) == ["first_token", "first_sentence", "first_audio", "generated", "spoken"]


class TestAnswersThatWereCut:
    CUT = "the answer was cut"

    def said(self, *tokens: str, unfinished: str) -> list[str]:
        speech = TimedSpeech()
        items = answer(TimedChat(tokens, end=AnswerEnd(error=self.CUT, unfinished=unfinished)), speech)
        assert end_of(items).error == self.CUT
        assert len(times_of(items, AnswerToken)) == len(tokens)
        return [text.text for text in speech.said]

    def test_the_sentence_that_was_broken_off_is_written_and_not_said(self) -> None:
        assert self.said("It is", " one.", " The sec", unfinished="The sec") == ["It is one."]

    def test_whole_sentences_that_were_held_back_are_said(self) -> None:
        assert self.said("It costs 3.", " The", unfinished="The") == ["It costs 3."]
        assert self.said("It is one", ".", unfinished="") == ["It is one."]

    def test_nothing_is_said_where_no_sentence_is_whole(self) -> None:
        assert self.said("It", " is the", unfinished="It is the") == []


class TestFailures:
    def test_a_model_that_breaks_off_leaves_the_text_and_the_speech_so_far(self) -> None:
        broken = TimedChat(TOKENS[:6], end=AnswerEnd(error="the answer broke off: away", error_kind="unavailable"))
        speech = TimedSpeech()
        items = answer(broken, speech)
        assert [text.text for text in speech.said] == ["It is the first one.", "The."]
        assert (end_of(items).error, end_of(items).answer.error_kind) == ("the answer broke off: away", "unavailable")

    def test_a_voice_that_fails_leaves_the_text_and_the_speech_so_far(self) -> None:
        items = answer(speech=TimedSpeech(error=UnavailableError("no voice"), fails_from=1))
        assert len(times_of(items, AnswerToken)) == len(TOKENS)
        assert len(times_of(items, SpokenChunk)) == 1
        assert (end_of(items).error, end_of(items).answer.error_kind) == ("no voice", "")

    def test_what_the_chat_raises_is_raised(self) -> None:
        with pytest.raises(UnavailableError):
            answer(TimedChat(error=UnavailableError("away")))

    def test_closing_an_answer_ends_the_writing(self) -> None:
        chat = TimedChat()

        async def run() -> None:
            async with aclosing(Voice(Heard(), chat, TimedSpeech()).answer(Call.within(60), QUESTION)) as items:
                await anext(items)

        run_virtually(run())
        assert (chat.closed, chat.written) == (True, 1)


class TestRecordings:
    def test_what_is_heard_is_asked(self) -> None:
        chat = TimedChat()
        items = answer(chat, heard=Heard("Where is it?"))
        assert items[0][1] == Transcript("Where is it?", "en", 1.0)
        assert [asked.text for asked in chat.asked] == ["Where is it?"]
        stages = end_of(items).stages
        assert stages["transcribed"] < stages["first_token"]

    @pytest.mark.parametrize(
        ("heard", "message", "kind"),
        [
            (Heard(""), NOBODY_SPOKE, "invalid_request"),
            (Heard(error=InvalidRequestError("no audio file")), "no audio file", "invalid_request"),
            (Heard(error=UnavailableError("away")), "away", "unavailable"),
        ],
    )
    def test_what_is_not_understood_is_not_asked(self, heard: Heard, message: str, kind: str) -> None:
        chat = TimedChat()
        items = answer(chat, heard=heard)
        assert (len(items), end_of(items).error, end_of(items).answer.error_kind) == (1, message, kind)
        assert chat.asked == []
