"""VoiceRequest to VoiceResponse, and ChatRequest with `enable_tts`: messages in, messages out."""

import io
import json
import wave
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.chat import NO_SPEECH, ChatHandler
from bridges.handlers.collected_answer import SPEECH_CUT, TEXT_CUT
from bridges.handlers.recorded_question import SOURCES_CUT, VoiceHandler
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.nats.trust import Trust
from bridges.operations.outcome import Outcome
from bridges.sessions.turn_log import TurnRecords
from deployments.call import Call
from deployments.errors import DeadlineExceededError, HearthError, InvalidRequestError, UnavailableError
from deployments.settings.orchestration import MemorySettings, TurnRecordSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation
from deployments.values.retrieval import Passage
from deployments.values.speech import Recording, SpokenChunk, Transcript
from deployments.values.status import ComponentStatus
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem, SpokenQuestion
from tests.conversation.scene import Wire, spoken_chunk
from tests.refusals import refused
from tests.unit.bridges.handlers.test_chat import ScriptedChat

PASSAGES = tuple(Passage(f"Passage {at}. " * 10, "rules.md", score=1.0 - at / 10) for at in range(3))
ANSWERED = SpokenAnswerEnd(
    AnswerEnd(PASSAGES, used_retrieval=True, stages={"retrieve": 0.05}),
    stages={
        "transcribed": 0.2,
        "first_token": 0.3,
        "first_sentence": 0.4,
        "generated": 0.5,
        "first_audio": 0.5,
        "spoken": 0.6,
    },
)
ITEMS = (Transcript("Which one?"), AnswerToken("The"), AnswerToken(" first."), spoken_chunk("The first."), ANSWERED)


@dataclass
class ItemVoice:
    """Answers with the items that it was given."""

    items: tuple[SpokenAnswerItem, ...] = ITEMS
    error: HearthError | None = None
    recordings: list[tuple[Recording, SpokenQuestion]] = field(default_factory=list[tuple[Recording, SpokenQuestion]])

    async def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        for item in self.items:
            yield item
        if self.error:
            raise self.error

    def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[SpokenAnswerItem]:
        self.recordings.append((recording, question))
        return self.answer(call, question)

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        raise AssertionError("nothing is prepared here")

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        raise AssertionError("nothing is read here")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


@dataclass
class LosingVoice(ItemVoice):
    """Loses its replica before it answers: then it has made some items."""

    lost: tuple[SpokenAnswerItem, ...] = ()

    async def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        for item in self.lost if len(self.recordings) == 1 else self.items:
            yield item


def reply_to(wire: Wire, subject: str, reply: str = "") -> Reply:
    return Reply(Sender(wire), subject, {"user_id": "ada"}, reply)


async def ask(
    voice: ItemVoice, wire: Wire, *, turns_file: str = "", **fields: object
) -> tuple[messages_pb2.VoiceResponse, Outcome]:
    records = TurnRecords(TurnRecordSettings(file=turns_file), with_text=True)
    given: dict[str, object] = {"request_id": "r1", "audio": b"RIFF", **fields}
    request = messages_pb2.VoiceRequest(**given)  # pyright: ignore[reportArgumentType]
    outcome = await VoiceHandler(voice, records).handle(Call.within(5), request, reply_to(wire, "ai.voice.request"))
    return wire.on("ai.voice.response.r1")[-1].read(messages_pb2.VoiceResponse), outcome


def seconds_of(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        return file.getnframes() / file.getframerate()


class TestVoiceRequests:
    async def test_the_sound_of_the_question_counts_for_its_user_whatever_became_of_the_answer(self) -> None:
        heard = Transcript("Which one?", seconds=12.5)
        _, outcome = await ask(ItemVoice((heard,), error=UnavailableError("away")), Wire())
        assert (outcome.heard_s, outcome.name) == (12.5, "unavailable")

    async def test_everything_that_led_to_the_answer_is_in_one_response(self) -> None:
        response, outcome = await ask(ItemVoice(), Wire())
        assert (response.request_id, response.transcription, response.response) == ("r1", "Which one?", "The first.")
        assert [(source.text, source.score) for source in response.sources] == [
            (passage.text, passage.score) for passage in PASSAGES
        ]
        assert [source.citation.source for source in response.sources] == [passage.source for passage in PASSAGES]
        assert seconds_of(response.audio) == 0.5
        assert (response.error, outcome.name, outcome.tokens) == ("", "ok", 2)

    async def test_an_answer_whose_replica_is_lost_is_made_anew(self) -> None:
        voice = LosingVoice(lost=(*ITEMS[:3], SpokenAnswerEnd(AnswerEnd(error="gone", replica_lost=True))))
        response, _ = await ask(voice, Wire())
        assert (response.response, response.error, len(voice.recordings)) == ("The first.", "", 2)

    async def test_the_collection_and_the_language_are_the_request_s(self) -> None:
        voice = ItemVoice()
        await ask(voice, Wire(), collection="house", language="de")
        ((recording, question),) = voice.recordings
        assert (recording.language, question.language, question.question.collection) == ("de", "de", "house")
        assert (question.question.retrieve, question.question.rerank) == (True, True)

    async def test_a_reply_subject_gets_the_response_too(self) -> None:
        wire = Wire()
        records = TurnRecords(TurnRecordSettings(), with_text=False)
        request = messages_pb2.VoiceRequest(audio=b"RIFF")
        await VoiceHandler(ItemVoice(), records).handle(
            Call.within(5), request, reply_to(wire, "ai.voice.request", "inbox")
        )
        assert wire.on("inbox")[0].read(messages_pb2.VoiceResponse).response == "The first."

    async def test_speech_that_failed_leaves_the_text_and_says_so(self) -> None:
        end = SpokenAnswerEnd(ANSWERED.answer, speech_error="no voice")
        response, outcome = await ask(ItemVoice((*ITEMS[:3], end)), Wire())
        assert (response.response, response.audio, response.error) == ("The first.", b"", "no voice")
        assert outcome.name == "ok"

    async def test_a_recording_that_is_not_understood_says_so(self) -> None:
        end = SpokenAnswerEnd(AnswerEnd(error_kind="invalid_request"), transcription_error="nobody speaks")
        response, outcome = await ask(ItemVoice((end,)), Wire())
        assert (response.response, response.error, outcome.name) == ("", "nobody speaks", "invalid_request")

    async def test_a_graph_that_breaks_off_leaves_what_came(self) -> None:
        response, outcome = await ask(ItemVoice(ITEMS[:3], UnavailableError("gone")), Wire())
        assert (response.response, response.transcription) == ("The first.", "Which one?")
        assert (response.error, outcome.name) == ("the answer broke off: gone", "unavailable")

    async def test_no_audio_is_refused(self) -> None:
        with refused(InvalidRequestError, field="audio"):
            await ask(ItemVoice(), Wire(), audio=b"")

    async def test_a_refused_request_is_answered(self) -> None:
        wire = Wire()
        handler = VoiceHandler(None, TurnRecords(TurnRecordSettings(), with_text=False))
        request = messages_pb2.VoiceRequest(request_id="r1", audio=b"RIFF")
        with refused(UnavailableError, retryable=False):
            await handler.handle(Call.within(5), request, reply_to(wire, "ai.voice.request"))
        await handler.fail(request, DeadlineExceededError("too late"), reply_to(wire, "ai.voice.request"))
        assert wire.on("ai.voice.response.r1")[0].read(messages_pb2.VoiceResponse).error == "too late"

    async def test_an_id_that_is_no_subject_is_answered_on_the_reply_subject(self) -> None:
        wire = Wire()
        handler = VoiceHandler(ItemVoice(), TurnRecords(TurnRecordSettings(), with_text=False))
        request = messages_pb2.VoiceRequest(request_id="a b", audio=b"RIFF")
        with pytest.raises(InvalidRequestError):
            await handler.handle(Call.within(5), request, reply_to(wire, "ai.voice.request", "inbox"))
        await handler.fail(request, InvalidRequestError("no subject"), reply_to(wire, "ai.voice.request", "inbox"))
        assert wire.on("inbox")[0].read(messages_pb2.VoiceResponse).error == "no subject"

    async def test_speech_over_the_limit_is_cut_and_the_response_says_so(self) -> None:
        long = SpokenChunk(bytes(400_000), 8000, "long")
        response, _ = await ask(ItemVoice((*ITEMS[:3], long, ANSWERED)), wire := Wire(max_payload=100_000))
        assert response.error == SPEECH_CUT
        assert 0 < len(response.audio) < 100_000
        assert response.ByteSize() <= wire.max_payload
        assert seconds_of(response.audio) > 5

    async def test_sources_and_text_over_the_limit_are_cut_and_the_response_says_so(self) -> None:
        tokens = tuple(AnswerToken("word ") for _ in range(500))
        response, _ = await ask(ItemVoice((ITEMS[0], *tokens, ITEMS[3], ANSWERED)), wire := Wire(max_payload=2000))
        assert all(note in response.error for note in (TEXT_CUT, SOURCES_CUT, SPEECH_CUT))
        assert response.response.startswith("word word")
        assert response.ByteSize() <= wire.max_payload

    async def test_a_turn_leaves_a_record(self, tmp_path: Path) -> None:
        file = tmp_path / "turns.jsonl"
        wire = Wire()
        await ask(ItemVoice(), wire, turns_file=str(file))
        record = wire.on("hearth.conversation.turn.r1")[0].read(conversation_pb2.TurnRecord)
        names = [stage.name for stage in record.stages]
        assert names == ["transcribe", "retrieve", "think", "write", "first audio", "speak"]
        assert json.loads(file.read_text())["answer"] == "The first."


class TestChatAloud:
    async def chat(
        self, voice: ItemVoice | None, *, max_payload: int = 1 << 20, streaming: bool = False
    ) -> tuple[messages_pb2.ChatResponse, Wire]:
        wire = Wire(max_payload=max_payload)
        handler = ChatHandler(ScriptedChat(), voice, ConversationMemory(MemorySettings(enabled=False)), Trust())
        request = messages_pb2.ChatRequest(
            request_id="r1", message="Which one?", enable_tts=True, enable_streaming=streaming
        )
        await handler.handle(Call.within(5), request, reply_to(wire, "ai.chat.user.ada.message"))
        return wire.on("ai.chat.response.r1")[0].read(messages_pb2.ChatResponse), wire

    async def test_the_answer_is_in_the_response_as_a_wav_file(self) -> None:
        response, _ = await self.chat(ItemVoice(ITEMS[1:]))
        assert (response.response, response.success, response.error) == ("The first.", True, "")
        assert seconds_of(response.audio) == 0.5
        assert (response.used_rag, list(response.rag_sources)) == (True, ["rules.md"])

    async def test_the_stream_of_the_text_ends_before_the_speech_does(self) -> None:
        items = (*ITEMS[1:3], ANSWERED.answer, ITEMS[3], ANSWERED)
        _, wire = await self.chat(ItemVoice(items), streaming=True)
        chunks = [one.read(messages_pb2.ChatStreamChunk) for one in wire.on("ai.chat.response.stream.r1")]
        assert [(chunk.content, chunk.done) for chunk in chunks] == [("The", False), (" first.", False), ("", True)]

    async def test_speech_that_failed_leaves_the_answer_and_says_so(self) -> None:
        end = SpokenAnswerEnd(ANSWERED.answer, speech_error="no voice")
        response, _ = await self.chat(ItemVoice((*ITEMS[1:3], end)))
        assert (response.response, response.success, response.audio, response.error) == (
            "The first.",
            True,
            b"",
            "no voice",
        )

    async def test_speech_over_the_limit_is_cut_and_the_response_says_so(self) -> None:
        long = SpokenChunk(bytes(400_000), 8000, "long")
        response, wire = await self.chat(ItemVoice((*ITEMS[1:3], long, ANSWERED)), max_payload=100_000)
        assert response.error == SPEECH_CUT
        assert response.ByteSize() <= wire.max_payload

    async def test_where_nothing_is_spoken_the_text_comes_alone_and_says_so(self) -> None:
        response, _ = await self.chat(None)
        assert (response.response, response.success, response.error) == ("Yes.", True, NO_SPEECH)
