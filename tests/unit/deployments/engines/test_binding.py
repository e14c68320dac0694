"""What an adapter returns that it should not is the deployment's nonsense, never a fault inside Hearth."""

from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest

from deployments.call import Call
from deployments.engines.adapter_protocols import Arguments
from deployments.engines.adapters import ChatCompletions, Transcription
from deployments.engines.back_end import BackEndErrors
from deployments.engines.binding import Binding
from deployments.engines.hearing.deployed_transcription import DeployedTranscription
from deployments.engines.language.deployed_chat import DeployedChat
from deployments.engines.speaking.deployed_speech import DeployedSpeech
from deployments.engines.vectors.deployed_vectors import DeployedEmbeddings, DeployedReranker
from deployments.errors import BackEnd, PayloadTooLargeError, UnavailableError, UpstreamFailedError
from deployments.values.language import FinishReason, Generation, Piece
from deployments.values.sound import pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, TranscriptQuality
from tests.refusals import refused

ROLE = "model"
NONSENSE = {"back_end": BackEnd(ROLE), "reason": f"the {ROLE} sent something that its adapter cannot read"}


class Scripted:
    """A deployment that answers with what it was given, after it was away `away` times."""

    description = "a deployment of the tests"

    def __init__(self, *answers: Any, away: int = 0) -> None:
        self.answers = answers
        self.away = away

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        if self.away:
            self.away -= 1
            raise UnavailableError("away", back_end=BackEnd(ROLE))
        return self.answers[0]

    async def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        for answer in self.answers:
            yield answer

    async def check(self) -> None: ...


class Through:
    """An adapter that returns an answer as it is."""

    method = "m"
    streams = False

    def request(self, *anything: object) -> Arguments:
        return Arguments(*anything)

    def text(self, answer: Any) -> Any:
        return answer

    vectors = scores = sound = text


THROUGH: Any = Through()
"""It breaks every adapter's promise of what it returns."""


def bound(*answers: Any, away: int = 0, streams: bool = False) -> Binding:
    return Binding(Scripted(*answers, away=away), "m", BackEndErrors(ROLE, "here"), streams=streams)


def within() -> Call:
    return Call.within(5.0, "test")


@pytest.mark.parametrize("answer", [None, 7, {"text": "a"}, b"a"])
async def test_text_that_is_none(answer: Any) -> None:
    with refused(UpstreamFailedError, **NONSENSE):
        _ = [piece async for piece in DeployedChat(bound(answer), THROUGH).pieces(within(), [], Generation())]
    with refused(UpstreamFailedError, **NONSENSE):
        samples = np.zeros(160, np.float32)
        await DeployedTranscription(bound(answer), THROUGH).transcribe(within(), samples, "", TranscriptQuality.FINAL)


class Telling:
    """An adapter that tells what is a thought and why an answer ended."""

    method, streams = "m", True

    def request(self, messages: object, generation: object) -> Arguments:
        return Arguments(messages, generation)

    def text(self, item: Any) -> Piece:
        return Piece(*item)


async def test_an_adapter_may_tell_thoughts_and_why_an_answer_ended() -> None:
    items = (("", "Hm"), ("Yes", ""), (" and", "", FinishReason.TOKEN_LIMIT), ("", "", None))
    chat = DeployedChat(bound(*items, streams=True), Telling())
    pieces = [piece async for piece in chat.pieces(within(), [], Generation())]
    assert pieces == [Piece(thought="Hm"), Piece("Yes"), Piece(" and"), Piece(end=FinishReason.TOKEN_LIMIT)]


async def test_an_answer_whose_adapter_tells_text_alone_ends_well() -> None:
    chat = DeployedChat(bound("Yes", "", ".", streams=True), THROUGH)
    pieces = [piece async for piece in chat.pieces(within(), [], Generation())]
    assert pieces == [Piece("Yes"), Piece("."), Piece(end=FinishReason.STOP)]


LOUD, QUIET = np.full(80, 0.5, np.float32), np.zeros(80, np.float32)


async def spoken(*sounds: Any) -> SpokenChunk:
    engine = DeployedSpeech(bound(*sounds, streams=True), THROUGH, voices=("v",))
    [chunk] = [chunk async for chunk in engine.speak(within(), SpeechText("hello", voice="v"))]
    return chunk


@pytest.mark.parametrize(
    "sound",
    [
        7,
        (1, 2, 3),
        ("loud", 8000),
        ([0.0], "fast"),
        ([0.0], None),
        ([0.0], float("inf")),
        ([0.0], float("nan")),
        ([0.0], 0),
        ([0.0], -8000),
        ([0.0], 8000.5),
        ([0.0], 10**9),
        (0.5, 8000),
        (np.zeros((2, 2, 2)), 8000),
        ([0.0, float("nan")], 8000),
        ([0.0, float("inf")], 8000),
        ([0.0, 32767.0], 8000),
        ([0, 32767], 8000),
        ([True, False], 8000),
    ],
)
async def test_sound_that_is_none(sound: Any) -> None:
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)):
        await spoken(sound)


async def test_sound_of_two_rates_is_none() -> None:
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)) as raised:
        await spoken((LOUD, 8000), (LOUD, 16000))
    assert raised.value.reason == f"the {ROLE} sent sound at 8000 Hz and then at 16000 Hz"


@pytest.mark.parametrize(
    "samples",
    [
        LOUD,
        LOUD.tolist(),
        LOUD.astype(np.float64),
        LOUD[:, None],
        LOUD[None, :],
        np.stack([LOUD, LOUD]),
        np.stack([LOUD, LOUD], axis=1),
        np.full(80, 2**14, np.int16),
    ],
)
async def test_sound_is_heard_in_whatever_samples_it_comes(samples: Any) -> None:
    chunk = await spoken((samples, 8000))
    assert chunk.pcm == pcm_of(LOUD)


async def test_the_mean_of_two_channels_is_heard() -> None:
    assert (await spoken((np.stack([LOUD, QUIET], axis=1), 8000))).pcm == pcm_of(np.full(80, 0.25, np.float32))


async def test_an_audio_file_that_is_none() -> None:
    engine = DeployedSpeech(bound(b"no audio"), THROUGH, voices=("v",))
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)) as raised:
        _ = [chunk async for chunk in engine.speak(within(), SpeechText("hello", voice="v"))]
    assert "no audio" in raised.value.reason


async def test_sound_in_pieces_is_one_chunk_and_empty_pieces_are_left_out() -> None:
    pieces = ((np.full(80, 0.5), 8000), b"", ([0.25] * 80, 8000))
    engine = DeployedSpeech(bound(*pieces, streams=True), THROUGH, voices=("v",))
    [chunk] = [chunk async for chunk in engine.speak(within(), SpeechText("hello", voice="v"))]
    assert (chunk.rate, chunk.seconds) == (8000, 0.02)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [[1.0]],
        [[1.0], [1.0, 2.0]],
        "ab",
        [1.0, 2.0],
        [["a"], ["b"]],
        [[], []],
        [[1.0], [float("nan")]],
        [[1.0], [float("inf")]],
    ],
)
async def test_vectors_that_are_none(rows: Any) -> None:
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)):
        await DeployedEmbeddings(bound(rows), THROUGH).embed(within(), ["one", "two"])


@pytest.mark.parametrize(
    "scores", [None, [1.0], ["high", "low"], 7, "12", b"12", {0: 1.0, 1: 2.0}, [1.0, float("nan")], [1.0, float("inf")]]
)
async def test_scores_that_are_none(scores: Any) -> None:
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)):
        await DeployedReranker(bound(scores), THROUGH).rerank(within(), "q", ["a", "b"])


async def test_a_deployment_that_is_away_is_asked_again_twice() -> None:
    assert await bound("here", away=2).answer(within(), Arguments(), str) == "here"
    with refused(UnavailableError, back_end=BackEnd(ROLE)):
        await bound("here", away=3).answer(within(), Arguments(), str)


async def test_a_failure_that_an_answer_tells_is_what_it_is_over_http(caplog: pytest.LogCaptureFixture) -> None:
    told = {"message": "maximum context length is 4096 tokens", "code": 400}
    errors = BackEndErrors(ROLE, "here", takes_client_input=True)
    binding = Binding(Scripted({"error": told}), "m", errors, streams=False)
    with refused(PayloadTooLargeError, back_end=BackEnd(ROLE, 400)):
        await binding.answer(within(), Arguments(), ChatCompletions().text)
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)):
        await bound({"error": "CUDA error"}).answer(within(), Arguments(), ChatCompletions().text)
    assert "CUDA error" in caplog.text


@pytest.mark.parametrize("error", [EOFError("short"), RuntimeError("odd"), AssertionError(), StopIteration()])
async def test_whatever_an_adapter_raises_over_an_answer_is_the_deployment_s_nonsense(error: Exception) -> None:
    def read(_: Any) -> str:
        raise error

    with refused(UpstreamFailedError, **NONSENSE):
        await bound("answer").answer(within(), Arguments(), read)


@pytest.mark.parametrize("text", [None, 7, ["a", "b"]])
async def test_a_transcript_that_is_no_text_is_told_and_logged(text: Any, caplog: pytest.LogCaptureFixture) -> None:
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)):
        await bound({"text": text}).answer(within(), Arguments(), Transcription().text)
    assert "a transcript that is not a text" in caplog.text


async def test_vectors_of_two_sizes_are_none() -> None:
    class Growing(Through):
        size = 0

        def vectors(self, answer: Any) -> Any:
            self.size += 1
            return [[1.0] * self.size]

    adapter: Any = Growing()
    with refused(UpstreamFailedError, back_end=BackEnd(ROLE)) as raised:
        await DeployedEmbeddings(bound("answer"), adapter, batch_size=1).embed(within(), ["one", "two"])
    assert raised.value.reason == f"the {ROLE} sent embeddings of 1 and 2 dimensions"


async def test_no_texts_have_no_vectors() -> None:
    assert (await DeployedEmbeddings(bound(), THROUGH).embed(within(), [])).shape == (0, 0)


class NoRequest(Through):
    """An adapter whose requests are none."""

    def __init__(self, made: object) -> None:
        self._made = made

    def request(self, *anything: object) -> Any:
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


@pytest.mark.parametrize("made", [None, {"prompt": "x"}, ("x",), KeyError("prompt"), RuntimeError("odd")])
async def test_a_request_that_an_adapter_does_not_make_is_its_author_s_to_mend(
    made: object, caplog: pytest.LogCaptureFixture
) -> None:
    adapter: Any = NoRequest(made)
    expected = {"retryable": False, "back_end": BackEnd(ROLE)}
    with refused(UpstreamFailedError, **expected):
        _ = [piece async for piece in DeployedChat(bound("a"), adapter).pieces(within(), [], Generation())]
    with refused(UpstreamFailedError, **expected):
        await DeployedEmbeddings(bound("a"), adapter).embed(within(), ["one"])
    with refused(UpstreamFailedError, **expected):
        await DeployedReranker(bound("a"), adapter).rerank(within(), "q", ["one"])
    assert "look at engine.adapter" in caplog.text


EVENT = 'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n'


async def pieces_of(adapter: Any, *items: str) -> list[Piece]:
    chat = DeployedChat(bound(*items, streams=True), adapter)
    return [piece async for piece in chat.pieces(within(), [], Generation())]


async def test_a_stream_of_completions_without_its_end_was_broken_off() -> None:
    with refused(UnavailableError, reason=f"the {ROLE} ended the answer before its end"):
        await pieces_of(ChatCompletions(), EVENT)
    whole = [Piece("Hello"), Piece(end=FinishReason.STOP)]
    assert await pieces_of(ChatCompletions(), EVENT, "data: [DONE]\n\n") == whole


async def test_an_adapter_that_knows_no_end_ends_with_its_last_item() -> None:
    assert await pieces_of(THROUGH, "Hello") == [Piece("Hello"), Piece(end=FinishReason.STOP)]
