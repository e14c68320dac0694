"""Roles bound to deployments that know nothing of Hearth, by ready-made adapters and by one of a reader's own."""

import asyncio
import os
import sys
import types
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from ray import serve

from deployments.call import Call
from deployments.engines.protocols import LanguageModelEngine
from deployments.engines.speech_engines import speech_to_text_engine, text_to_speech_engine
from deployments.engines.text_engines import embeddings_engine, language_model_engine, reranker_engine
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    Limit,
    OverloadedError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.graph.foreign import ForeignDeployment
from deployments.settings.speech_models import SpeechToTextSettings, TextToSpeechSettings
from deployments.settings.text_models import EmbeddingsSettings, LanguageModelSettings, RerankerSettings
from deployments.values.language import Generation, Message, Role
from deployments.values.sound import SPEECH_RATE, samples_of
from deployments.values.speech import SpeechText, TranscriptQuality
from tests.integration.foreign_deployments import APPLICATION, RATE, TOKEN_PERIOD_S, build
from tests.pages import blocks
from tests.pieces import texts
from tests.refusals import refused
from tests.servers import ROOT

ADAPTERS = "deployments.engines.adapters"
PAGE = ROOT / "deployments" / "README.md"
SECOND = np.zeros(SPEECH_RATE, np.float32)


def within(seconds: float = 20.0) -> Call:
    return Call.within(seconds, "test")


def bound(deployment: str, adapter: str, arguments: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    engine = {"kind": "handle", "application": APPLICATION, "deployment": deployment, "adapter": adapter}
    return {"engine": engine | {"arguments": arguments or {}} | more}


@pytest.fixture(scope="module", autouse=True)
def foreign_application(ray_driver: None) -> None:
    serve.run(build(), name=APPLICATION, route_prefix=None)


@pytest.fixture
def page_adapter() -> Iterator[str]:
    """Make the adapter that the page shows importable, word for word."""
    code = next(block.code for block in blocks(PAGE.read_text(), "python") if "class OurModel" in block.code)
    module = types.ModuleType("our_adapter")
    exec(code, module.__dict__)  # noqa: S102 - of our own page
    sys.modules[module.__name__] = module
    yield "our_adapter:OurModel"
    del sys.modules[module.__name__]


@pytest.fixture
def our_model(page_adapter: str) -> LanguageModelEngine:
    settings = LanguageModelSettings.model_validate(bound("VLLMDeployment", page_adapter, context_tokens=2048))
    return language_model_engine(settings, ForeignDeployment)


def generated(model: LanguageModelEngine, question: str, call: Call | None = None) -> AsyncGenerator[str]:
    return texts(model.generate(call or within(), [Message(Role.USER, question)], Generation(max_tokens=500)))


async def how_many_were_left() -> int:
    return await ForeignDeployment(APPLICATION, "VLLMDeployment", "model").call(within(), "how_many_were_left")


async def until_one_was_left(before: int) -> None:
    async with asyncio.timeout(5.0):
        while await how_many_were_left() == before:
            pass


async def test_the_adapter_of_the_page_binds_a_model_of_somebody_s_own(our_model: LanguageModelEngine) -> None:
    assert [token async for token in generated(our_model, "one two three")] == ["one ", "two ", "three "]
    assert our_model.tokens_generated == 3
    await our_model.check()


async def test_an_answer_that_is_left_is_stopped_there(our_model: LanguageModelEngine) -> None:
    left = await how_many_were_left()
    async with aclosing(generated(our_model, "word " * 500)) as tokens:
        assert await anext(tokens) == "word "
    await until_one_was_left(left)


async def test_the_deadline_ends_an_answer_there(our_model: LanguageModelEngine) -> None:
    left = await how_many_were_left()
    with pytest.raises(DeadlineExceededError):
        _ = [token async for token in generated(our_model, "word " * 500, within(30 * TOKEN_PERIOD_S))]
    await until_one_was_left(left)


async def test_an_exception_of_its_own_is_told_without_its_secrets(our_model: LanguageModelEngine) -> None:
    with refused(UpstreamFailedError, reason="the language model failed", back_end=BackEnd("language model")):
        await anext(generated(our_model, "fail"))


async def test_an_item_that_the_adapter_cannot_read_is_a_failure(our_model: LanguageModelEngine) -> None:
    async with aclosing(generated(our_model, "one nonsense")) as tokens:
        assert await anext(tokens) == "one "
        with refused(UpstreamFailedError, reason="the language model sent something that its adapter cannot read"):
            await anext(tokens)


async def test_a_full_queue_there_is_overload(our_model: LanguageModelEngine) -> None:
    """It takes four requests at once and lets one wait."""
    streams = [generated(our_model, "word " * 200) for _ in range(4)]
    for stream in streams:
        await anext(stream)
    more = [asyncio.ensure_future(anext(generated(our_model, "word"))) for _ in range(2)]
    done, waiting = await asyncio.wait(more, return_when=asyncio.FIRST_COMPLETED)
    with refused(OverloadedError, limit=Limit("max_queued_requests", 1, 1)):
        done.pop().result()
    waiting.pop().cancel()
    for stream in streams:
        await stream.aclose()


async def test_chat_that_was_written_for_http_is_called_by_handle() -> None:
    arguments = {"model": "small", "streams": False, "takes": "http"}
    engine = bound("ChatOverHttp", f"{ADAPTERS}:ChatCompletions", arguments, context_tokens=2048)
    model = language_model_engine(LanguageModelSettings.model_validate(engine), ForeignDeployment)
    assert [token async for token in generated(model, "hello")] == ["small: hello"]


@pytest.mark.parametrize("arguments", [{"method": "transcribe"}, {"takes": "http"}], ids=["dict", "http"])
async def test_speech_to_text(arguments: dict[str, Any]) -> None:
    settings = SpeechToTextSettings.model_validate(bound("WhisperDeployment", f"{ADAPTERS}:Transcription", arguments))
    engine = speech_to_text_engine(settings, ForeignDeployment)
    transcript = await engine.transcribe(within(), SECOND, "de", TranscriptQuality.FINAL)
    assert (transcript.text, transcript.seconds) == ("1 s in de", 1.0)


@pytest.mark.parametrize(
    "arguments", [{"takes": "named"}, {"method": "over_http", "takes": "http"}], ids=["named", "http"]
)
async def test_text_to_speech(arguments: dict[str, Any]) -> None:
    settings = TextToSpeechSettings.model_validate(
        bound("TTSDeployment", f"{ADAPTERS}:Coqui", arguments, voices=["3", "5"], language="en")
    )
    engine = text_to_speech_engine(settings, ForeignDeployment)
    chunks = [chunk async for chunk in engine.speak(within(), SpeechText("hello", voice="5"))]
    assert [(chunk.rate, chunk.seconds, chunk.text) for chunk in chunks] == [(RATE, 0.5, "hello")]
    assert samples_of(chunks[0].pcm).mean() == pytest.approx(0.5, abs=1e-3)


async def test_embeddings() -> None:
    arguments = {"method": "embed", "takes": "named", "model": "abcd"}
    settings = EmbeddingsSettings.model_validate(bound("EmbeddingsDeployment", f"{ADAPTERS}:Embeddings", arguments))
    vectors = await embeddings_engine(settings, ForeignDeployment).embed(within(), ["abc", ""])
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.0, 1.0]], atol=1e-6)


async def test_reranking() -> None:
    settings = RerankerSettings.model_validate(bound("RerankerDeployment", f"{ADAPTERS}:Rerank"))
    rankings = await reranker_engine(settings, ForeignDeployment).rerank(within(), "roof", ["the cellar", "the roof"])
    assert [(ranking.index, ranking.score) for ranking in rankings] == [(1, 1.0), (0, 0.0)]


async def test_a_replica_that_is_killed_is_unavailable_and_comes_back(our_model: LanguageModelEngine) -> None:
    pid = int("".join([token async for token in generated(our_model, "who are you?")]))
    async with aclosing(generated(our_model, "word " * 500)) as tokens:
        await anext(tokens)
        os.kill(pid, 9)
        with pytest.raises(UnavailableError):
            async for _token in tokens:
                pass
    assert int("".join([token async for token in generated(our_model, "who are you?", within(60.0))])) != pid
