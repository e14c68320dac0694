"""Questions asked aloud through NATS and answered aloud from documents: real models, and a Whisper apart to listen."""

import asyncio
import io
import wave
from typing import Any
from uuid import uuid4

import pytest
import soxr
from nats.aio.client import Client

from bridges.command_line.client import HearthClient
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.files.naming import name_files
from bridges.command_line.main import SAMPLES
from bridges.command_line.sound.saying import Said, say, unheard
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.call import Call
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.models.store import ModelStore
from deployments.values.sound import SPEECH_RATE, pcm_of, samples_of, wav_file
from deployments.values.speech import TranscriptQuality
from tests.end_to_end.test_speech import Session

QUESTION = "How long does the remote site keep monthly snapshots?"
COLLECTION = "voice"
WAIT_S = 60.0
CHUNK = 3200


class Conversation(Session):
    """A session that asks for answers."""

    async def open(self) -> "Conversation":
        await super().open()
        for subject in ("text", "turn"):
            await self._connection.subscribe(f"hearth.conversation.{subject}.{self.id}", cb=self.heard.add)
        await self._connection.flush()
        return self

    async def begin(self, **request: Any) -> None:
        conversation = conversation_pb2.ConversationRequest(collection=COLLECTION, **request)
        await self.send(type="start", user_id=self.id, conversation=conversation)

    async def speak(self, pcm: bytes) -> None:
        """Speak at the pace of a microphone."""
        for at in range(0, len(pcm), CHUNK):
            await self.send(type="chunk", audio=pcm[at : at + CHUNK].ljust(CHUNK, b"\0"))
            await asyncio.sleep(CHUNK / 2 / SPEECH_RATE)

    @property
    def turns(self) -> list[conversation_pb2.TurnRecord]:
        return self.heard.on("turn", conversation_pb2.TurnRecord)

    @property
    def text(self) -> str:
        return "".join(chunk.content for chunk in self.heard.on("text", messages_pb2.ChatStreamChunk))

    @property
    def interrupts(self) -> int:
        found = self.heard.on("transcription", messages_pb2.STTInterrupt)
        return sum(one.type == "interrupt" for one in found)

    async def until(self, happened: Any) -> None:
        """Keep the microphone open until something happened."""
        waiting = asyncio.create_task(self.heard.until(happened))
        while not waiting.done():
            await self.speak(bytes(CHUNK))
        await waiting


@pytest.fixture
async def conversation(connection: Client, documents: None) -> Conversation:
    del documents
    return await Conversation(connection).open()


@pytest.fixture
async def documents(client: HearthClient) -> None:
    """Have the sample documents in a collection."""
    files, summary = name_files(sorted(SAMPLES.iterdir()), [SAMPLES], prefix="").files, IngestSummary()
    await ingest_files(client, files, IngestOptions(COLLECTION, WAIT_S), summary, Unobserved())
    assert not summary.failed


@pytest.fixture(scope="module")
def whisper(models: ModelStore) -> WhisperEngine:
    return WhisperEngine(models.locate("whisper-base", "speech-to-text"), None)


async def spoken(client: HearthClient, text: str) -> Said:
    return await say(client, messages_pb2.TTSRequest(text=text), WAIT_S, unheard)


async def pcm_at_speech_rate(client: HearthClient, text: str) -> bytes:
    said = await spoken(client, text)
    return pcm_of(soxr.resample(samples_of(said.pcm), said.rate, SPEECH_RATE))


async def heard_in(whisper: WhisperEngine, wav: bytes) -> str:
    """Return what an independent Whisper hears in a WAV file."""
    # The header of a stream does not know its length.
    with wave.open(io.BytesIO(wav)) as file:
        rate = file.getframerate()
    samples = soxr.resample(samples_of(wav[44:]), rate, SPEECH_RATE)
    return (await whisper.transcribe(Call.within(WAIT_S), samples, "en", TranscriptQuality.FINAL)).text.lower()


class TestVoiceRequest:
    async def ask(self, client: HearthClient, **fields: Any) -> messages_pb2.VoiceResponse:
        request = messages_pb2.VoiceRequest(request_id=uuid4().hex, collection=COLLECTION, **fields)
        return await client.ask_aloud(request, WAIT_S)

    async def test_a_recorded_question_is_answered_from_documents_and_aloud(
        self, client: HearthClient, documents: None, whisper: WhisperEngine
    ) -> None:
        del documents
        said = await spoken(client, QUESTION)
        response = await self.ask(client, audio=wav_file(said.pcm, said.rate))
        assert (response.transcription, response.error) == (QUESTION, "")
        assert "five years" in response.response
        assert "five years" in response.sources[0].text
        assert response.sources[0].score >= response.sources[-1].score
        assert "five years" in await heard_in(whisper, response.audio)

    async def test_a_requester_gets_the_response_too(
        self, client: HearthClient, connection: Client, documents: None
    ) -> None:
        del documents
        said = await spoken(client, QUESTION)
        request = messages_pb2.VoiceRequest(audio=wav_file(said.pcm, said.rate), collection=COLLECTION)
        reply = await connection.request("ai.voice.request", request.SerializeToString(), timeout=WAIT_S)
        assert "five years" in messages_pb2.VoiceResponse.FromString(reply.data).response

    @pytest.mark.parametrize(
        ("audio", "error"),
        [
            (b"", "audio is empty"),
            (b"no audio file at all", "expected"),
            (wav_file(bytes(2 * SPEECH_RATE), SPEECH_RATE), "nobody speaks"),
        ],
    )
    async def test_what_cannot_be_understood_is_told(self, client: HearthClient, audio: bytes, error: str) -> None:
        response = await self.ask(client, audio=audio)
        assert error in response.error
        assert (response.response, response.audio) == ("", b"")

    async def test_an_unknown_collection_leaves_the_transcript(self, client: HearthClient) -> None:
        said = await spoken(client, QUESTION)
        request = messages_pb2.VoiceRequest(
            request_id=uuid4().hex, audio=wav_file(said.pcm, said.rate), collection="nowhere"
        )
        response = await client.ask_aloud(request, WAIT_S)
        assert response.transcription == QUESTION
        assert "'nowhere' does not exist" in response.error

    async def test_a_language_that_no_voice_speaks_leaves_the_text(self, client: HearthClient, documents: None) -> None:
        del documents
        said = await spoken(client, QUESTION)
        response = await self.ask(client, audio=wav_file(said.pcm, said.rate), language="fi")
        assert response.audio == b""
        assert "language 'fi'" in response.error


async def test_a_written_question_is_answered_aloud_where_that_is_asked_for(
    client: HearthClient, documents: None, whisper: WhisperEngine
) -> None:
    del documents
    request = messages_pb2.ChatRequest(
        message=QUESTION, enable_rag=True, enable_reranker=True, enable_tts=True, collection=COLLECTION
    )
    items = [item async for item in client.ask(request, WAIT_S)]
    response = items[-1]
    assert isinstance(response, messages_pb2.ChatResponse)
    assert (response.success, response.error) == (True, "")
    assert "five years" in response.response
    assert "five years" in await heard_in(whisper, response.audio)


class TestConversation:
    async def test_a_question_is_answered_aloud_while_it_is_written(
        self, client: HearthClient, conversation: Conversation, whisper: WhisperEngine
    ) -> None:
        await conversation.begin()
        await conversation.speak(await pcm_at_speech_rate(client, QUESTION))
        await conversation.until(lambda: conversation.turns)
        (turn,) = conversation.turns
        assert (turn.question, turn.outcome, turn.turn) == (QUESTION, "played", 1)
        assert conversation.text == turn.answer == turn.heard
        wav = b"".join(chunk.audio for chunk in conversation.heard.chunks)
        assert "five years" in await heard_in(whisper, wav)
        names = [stage.name for stage in turn.stages]
        assert {"question", "transcribe", "find", "think", "first audio", "playback"} <= set(names)
        assert int(turn.decisions["preparations"]) >= 1

    async def test_an_answer_that_is_spoken_into_stops_and_what_was_heard_is_remembered(
        self, client: HearthClient, conversation: Conversation
    ) -> None:
        await conversation.begin()
        await conversation.speak(await pcm_at_speech_rate(client, "What does E-17 mean?"))
        await conversation.until(lambda: len(conversation.heard.chunks) > 2)
        # Long enough after the turn's end for it to be another turn.
        await conversation.speak(bytes(2 * SPEECH_RATE * 2))
        await conversation.speak(await pcm_at_speech_rate(client, QUESTION))
        await conversation.until(lambda: len(conversation.turns) == 2)
        first, second = conversation.turns
        assert (first.outcome, second.outcome) == ("interrupted", "played")
        assert conversation.interrupts == 1
        assert first.heard
        assert " ".join(first.answer.split()).startswith(" ".join(first.heard.split())[:20])
        assert len(first.heard) < len(first.answer)
        assert "five years" in second.answer
        epochs = [chunk.epoch for chunk in conversation.heard.chunks]
        assert epochs == sorted(epochs)

    async def test_a_pause_in_the_middle_of_a_question_does_not_split_it(
        self, client: HearthClient, conversation: Conversation
    ) -> None:
        await conversation.begin()
        await conversation.speak(await pcm_at_speech_rate(client, "How long does the remote site"))
        await conversation.until(lambda: conversation.heard.finals)
        await conversation.speak(await pcm_at_speech_rate(client, "keep monthly snapshots?"))
        await conversation.until(lambda: any(turn.outcome == "played" for turn in conversation.turns))
        last = conversation.turns[-1]
        assert (last.turn, last.revision) == (1, 1)
        assert "remote site" in last.question
        assert "snapshots" in last.question
        assert "five years" in last.answer

    async def test_a_voice_that_does_not_exist_leaves_the_text_and_says_so(
        self, client: HearthClient, conversation: Conversation
    ) -> None:
        await conversation.begin(voice="nobody")
        await conversation.speak(await pcm_at_speech_rate(client, QUESTION))
        await conversation.until(lambda: conversation.turns)
        assert "five years" in conversation.text
        assert "unknown voice 'nobody'" in conversation.turns[0].error
        assert conversation.heard.chunks == []
        assert conversation.heard.statuses[-1] == "error"


async def test_two_clients_talk_at_once_and_each_hears_its_own_answer(
    client: HearthClient, connection: Client, documents: None
) -> None:
    del documents
    questions = (QUESTION, "Where is the key of the diesel generator?")
    facts = ("five years", "pantry")
    talks = [await Conversation(connection).open() for _ in questions]

    async def talk(conversation: Conversation, question: str) -> None:
        pcm = await pcm_at_speech_rate(client, question)
        await conversation.begin()
        await conversation.speak(pcm)
        await conversation.until(lambda: conversation.turns)

    async with asyncio.TaskGroup() as group:
        for conversation, question in zip(talks, questions, strict=True):
            group.create_task(talk(conversation, question))
    assert all(fact in talk.text for fact, talk in zip(facts, talks, strict=True))
