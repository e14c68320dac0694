"""Roles bound to a model of `ray.serve.llm`: Ray's real `LLMServer` over an engine of the tests, without vLLM here."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from ray import serve

from deployments import applications
from deployments.call import Call
from deployments.component_status import status_or_error
from deployments.engines.back_end import BackEndErrors
from deployments.engines.llm_server import LLMRequest, LLMServerModel
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    InvalidRequestError,
    Limit,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.graph.definitions import EMBEDDINGS, LANGUAGE_MODEL, RERANKER, SPEECH_TO_TEXT, ServiceDefinition
from deployments.graph.deployment import Replica
from deployments.graph.foreign import ForeignDeployment
from deployments.graph.serve_state import deployment_states
from deployments.services import LanguageModelService
from deployments.settings.speech_models import SpeechToTextSettings
from deployments.settings.text_models import EmbeddingsSettings, LanguageModelSettings, RerankerSettings
from deployments.values.language import Prompt
from deployments.values.speech import TranscriptQuality, Utterance
from deployments.values.status import ComponentStatus
from tests import servers
from tests.integration.llm_server.deploy import (
    APPLICATION,
    DEPLOYMENT,
    OWN_APPLICATION,
    OWN_DEPLOYMENT,
    ROUTED_APPLICATION,
    SPREAD_APPLICATION,
)
from tests.integration.llm_server.protocol_names import write_protocol_names
from tests.integration.llm_server.scripted_engine import LIMIT_TOKENS, MODEL, SPECIAL_TOKEN, TOKEN_PERIOD_S
from tests.pieces import texts
from tests.refusals import refused

S = TypeVar("S")
T = TypeVar("T")

ROLE = "language model"


def within(seconds: float = 20.0, session: str = "") -> Call:
    return Call.within(seconds, "test", session=session)


def asking(text: str) -> Prompt:
    return Prompt("Be brief.", text)


def bound(application: str = APPLICATION, model: str = MODEL) -> dict[str, object]:
    return {"kind": "ray-serve-llm", "application": application, "model": model}


def deploy(name: str, role: ServiceDefinition[S], build: Callable[[T], Replica[S]], settings: T) -> S:
    """Deploy a role as its application does, with none of the cluster's two CPUs; return its client."""
    deployment = serve.deployment(name=role.name, ray_actor_options={"num_cpus": 0})(role.replica_class(build))
    serve.run(deployment.bind(settings), name=name, route_prefix=None)
    return role.in_application(name)


def deployed_chat(name: str, engine: dict[str, object]) -> LanguageModelService:
    settings = LanguageModelSettings.model_validate({"engine": engine | {"context_tokens": 4096}})
    return deploy(name, LANGUAGE_MODEL, applications._language_model, settings)


async def answer(chat: LanguageModelService, text: str, call: Call | None = None) -> str:
    return "".join([token async for token in texts(chat.generate(call or within(), asking(text)))])


@pytest.fixture(scope="module")
def llm_server(ray_cluster: servers.RayCluster, ray_driver: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Deploy the `LLMServer`, as its owner would, from a process that has the names of vLLM."""
    names = write_protocol_names(tmp_path_factory.mktemp("names"))
    command = [sys.executable, "-m", "tests.integration.llm_server.deploy", ray_cluster.address, str(names)]
    environment = {**os.environ, "PYTHONPATH": str(servers.ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def chat(llm_server: None) -> LanguageModelService:
    return deployed_chat("language-model", bound())


@pytest.fixture(scope="module")
def spread_chat(llm_server: None) -> LanguageModelService:
    return deployed_chat("spread", bound(SPREAD_APPLICATION))


@pytest.fixture(scope="module")
def own_chat(llm_server: None) -> LanguageModelService:
    """Return Hearth's own server in place of Ray's, over the same engine: nothing of ours is deployed beside it."""
    return LANGUAGE_MODEL.in_application(OWN_APPLICATION, OWN_DEPLOYMENT)


@pytest.fixture
def server(llm_server: None) -> LLMServerModel:
    return LLMServerModel(ForeignDeployment(APPLICATION, DEPLOYMENT, ROLE), MODEL, BackEndErrors(ROLE, "here"))


def test_vllm_is_not_installed_here() -> None:
    spec = find_spec("vllm")
    assert spec is None or spec.origin is None


async def test_an_answer_comes_token_by_token(chat: LanguageModelService) -> None:
    tokens = [token async for token in texts(chat.generate(within(), asking("count to 5")))]
    assert tokens == ["0 ", "1 ", "2 ", "3 ", "4 "]


async def test_the_first_token_comes_long_before_the_last(chat: LanguageModelService) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with aclosing(texts(chat.generate(within(), asking("count to 200")))) as tokens:
        assert await anext(tokens) == "0 "
        first = loop.time() - begun
        assert len([token async for token in tokens]) == 199
    assert first < (loop.time() - begun) / 2


async def test_an_answer_that_is_left_is_stopped_in_the_engine(chat: LanguageModelService) -> None:
    left = int(await answer(chat, "how many were left?"))
    async with aclosing(texts(chat.generate(within(), asking("count to 500")))) as tokens:
        await anext(tokens)
    async with asyncio.timeout(500 * TOKEN_PERIOD_S):
        while int(await answer(chat, "how many were left?")) == left:
            pass


async def test_reading_ahead_asks_for_a_single_token(chat: LanguageModelService) -> None:
    counts = [tokens async for tokens in chat.read(within(), asking("count to 500"))]
    assert len(counts) == 1
    assert counts[0] > 0


async def test_a_question_that_is_too_long_is_the_client_s_to_shorten(chat: LanguageModelService) -> None:
    # Hearth's own estimate lets it pass.
    limit, back_end = Limit("engine.context_tokens", 4096), BackEnd(ROLE, 400)
    with refused(InvalidRequestError, field="message", limit=limit, back_end=back_end):
        await answer(chat, "a " * (LIMIT_TOKENS + 1))


async def test_a_model_that_the_server_does_not_have_is_the_operator_s_to_mend(llm_server: None) -> None:
    chat = deployed_chat("other-model", bound(model="another") | {"deployment": DEPLOYMENT})
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd(ROLE, 404)) as raised:
        await answer(chat, "count to 1")
    assert "another" not in raised.value.message
    serve.delete("other-model")


async def test_an_engine_that_dies_in_an_answer_breaks_it_off(chat: LanguageModelService) -> None:
    async with aclosing(texts(chat.generate(within(), asking("die at 2")))) as tokens:
        assert [await anext(tokens), await anext(tokens)] == ["0 ", "1 "]
        with refused(UpstreamFailedError, retryable=True, back_end=BackEnd(ROLE, 500)):
            await anext(tokens)


async def test_a_dead_engine_is_unavailable(chat: LanguageModelService) -> None:
    with refused(UnavailableError, reason=f"the {ROLE} is away"):
        await answer(chat, "be dead")


async def test_a_request_that_the_replica_cannot_read_is_not_taken_for_its_death(server: LLMServerModel) -> None:
    request = LLMRequest("ChatCompletionRequest", model=MODEL, messages="no list")
    with refused(UpstreamFailedError, retryable=False):
        await server.answer(within(), "chat", request)


async def test_a_method_that_is_not_there_is_a_failure(server: LLMServerModel) -> None:
    with refused(UpstreamFailedError, retryable=False):
        await server.answer(within(), "sing", LLMRequest("ChatCompletionRequest", model=MODEL, messages=[]))


async def test_the_deadline_ends_an_answer_and_its_work(chat: LanguageModelService) -> None:
    left = int(await answer(chat, "how many were left?"))
    with pytest.raises(DeadlineExceededError):
        await answer(chat, "count to 500", within(50 * TOKEN_PERIOD_S))
    async with asyncio.timeout(500 * TOKEN_PERIOD_S):
        while int(await answer(chat, "how many were left?")) == left:
            pass


async def test_what_is_not_deployed_is_unavailable() -> None:
    model = ForeignDeployment("nowhere", DEPLOYMENT, ROLE)
    with refused(UnavailableError, reason=f"the {ROLE} is not deployed"):
        await model.call(within(), "chat")
    with pytest.raises(UnavailableError):
        await model.check()


async def test_the_status_tells_the_model_and_whether_it_runs(chat: LanguageModelService) -> None:
    status = await chat.status(within())
    assert status.ready
    assert MODEL in status.detail


async def test_requests_of_a_session_go_to_the_same_replica(spread_chat: LanguageModelService) -> None:
    # Where a session goes is decided by a hash of names that Ray draws anew: few sessions may well share one replica.
    sessions = [f"session-{number}" for number in range(40)]
    answered: dict[str, set[str]] = {}
    for _ in range(2):
        for session in sessions:
            replica = await answer(spread_chat, "who are you?", within(session=session))
            answered.setdefault(session, set()).add(replica)
    assert all(len(replicas) == 1 for replicas in answered.values())
    assert len(set.union(*answered.values())) == 2


async def test_our_server_answers_as_a_language_model(own_chat: LanguageModelService) -> None:
    tokens = [token async for token in texts(own_chat.generate(within(), asking("count to 5")))]
    assert tokens == ["0 ", "1 ", "2 ", "3 ", "4 "]


async def test_thoughts_of_an_llm_server_are_no_part_of_its_answers(
    chat: LanguageModelService, own_chat: LanguageModelService
) -> None:
    for way in (chat, own_chat):
        assert await answer(way, "repeat <think>\nHm.\n</think>\n\nIt is four.") == "It is four."


async def test_a_special_token_of_the_engine_s_vocabulary_is_text_in_a_question(
    own_chat: LanguageModelService,
) -> None:
    asked = f"repeat {SPECIAL_TOKEN} and <other:token>"
    assert await answer(own_chat, asked) == f"{SPECIAL_TOKEN[0]} {SPECIAL_TOKEN[1:]} and <other:token>"


async def test_our_server_stays_an_llm_server(own_chat: LanguageModelService) -> None:
    own = {"deployment": OWN_DEPLOYMENT}
    assert await answer(deployed_chat("second-door", bound(OWN_APPLICATION) | own), "count to 2") == "0 1 "
    serve.delete("second-door")


async def test_our_server_stops_an_answer_that_is_left(own_chat: LanguageModelService) -> None:
    left = int(await answer(own_chat, "how many were left?"))
    async with aclosing(texts(own_chat.generate(within(), asking("count to 450")))) as tokens:
        await anext(tokens)
    async with asyncio.timeout(450 * TOKEN_PERIOD_S):
        while int(await answer(own_chat, "how many were left?")) == left:
            pass


async def test_our_server_counts_by_the_engine_s_own_vocabulary(own_chat: LanguageModelService) -> None:
    room = LIMIT_TOKENS - 500
    fitting = "count to 3 " + "a" * 5000
    assert await answer(own_chat, f"{fitting} count to 1") == "0 "
    with refused(InvalidRequestError, field="message", limit=Limit("engine.context_tokens", room, room + 3)):
        # "Be brief." are two more.
        await answer(own_chat, "a " * (room + 1))


async def test_our_server_tells_what_it_read_beyond_its_cache(own_chat: LanguageModelService) -> None:
    [first] = [tokens async for tokens in own_chat.read(within(), asking("count to 5"))]
    [again] = [tokens async for tokens in own_chat.read(within(), asking("count to 5 and 6"))]
    assert (first > 0, again) == (True, 2)


async def test_our_server_tells_a_dying_engine_as_a_failure_and_a_dead_one_as_unavailable(
    own_chat: LanguageModelService,
) -> None:
    async with aclosing(texts(own_chat.generate(within(), asking("die at 2")))) as tokens:
        assert [await anext(tokens), await anext(tokens)] == ["0 ", "1 "]
        with refused(UpstreamFailedError, retryable=True):
            await anext(tokens)
    with refused(UnavailableError, reason=f"the {ROLE} is away"):
        await answer(own_chat, "be dead")


async def test_our_server_s_profile_and_status_tell_the_model(own_chat: LanguageModelService) -> None:
    profile = await own_chat.profile(within())
    assert profile.answering.system_prompt == "Be brief."
    assert MODEL in profile.description
    assert (await own_chat.status(within())).ready


async def test_our_server_is_replaced_when_its_engine_is_dead(own_chat: LanguageModelService) -> None:
    pid = await answer(own_chat, "who are you?")
    await answer(own_chat, "fall ill")
    status = await own_chat.status(within())
    assert not status.ready
    async with asyncio.timeout(60):
        while not (await _status_of(own_chat)).ready:
            pass
    assert await answer(own_chat, "who are you?") != pid


async def _status_of(chat: LanguageModelService) -> ComponentStatus:
    return await status_or_error("LanguageModel", chat.status(within()))


async def test_embeddings_are_read_without_vllm(llm_server: None) -> None:
    settings = EmbeddingsSettings.model_validate({"engine": bound()})
    vectors = await deploy("e", EMBEDDINGS, applications._embeddings, settings).embed(within(), ["", "abc"])
    np.testing.assert_allclose(vectors, [[0, 0, 1], [3 / 10**0.5, 0, 1 / 10**0.5]], atol=1e-6)
    serve.delete("e")


async def test_scores_are_read_without_vllm(llm_server: None) -> None:
    settings = RerankerSettings.model_validate({"engine": bound()})
    rankings = await deploy("r", RERANKER, applications._reranker, settings).rerank(
        within(), "roof", ["the cellar", "the roof"]
    )
    assert [(ranking.index, ranking.score) for ranking in rankings] == [(1, 1.0), (0, 0.0)]
    serve.delete("r")


async def test_transcripts_are_read_without_vllm(llm_server: None) -> None:
    settings = SpeechToTextSettings.model_validate({"engine": bound(), "end_of_turn": ""})
    service = deploy("s", SPEECH_TO_TEXT, applications._speech_to_text, settings)
    transcript = await service.transcribe(within(), Utterance(bytes(32_000), "en"), TranscriptQuality.FINAL)
    assert transcript.text == "RIFF, 32044 bytes, en"
    serve.delete("s")


async def test_the_deployments_are_told_though_the_router_of_one_cannot_be_imported_here(llm_server: None) -> None:
    with pytest.raises(ImportError):
        serve.status()
    states = {(state.application, state.name): state for state in await deployment_states()}
    assert states[SPREAD_APPLICATION, DEPLOYMENT].running == 2
    assert states[ROUTED_APPLICATION, "Idle"].status == "HEALTHY"


async def test_a_replica_that_is_killed_is_unavailable_and_comes_back(chat: LanguageModelService) -> None:
    pid = int(await answer(chat, "who are you?"))
    async with aclosing(texts(chat.generate(within(), asking("count to 500")))) as tokens:
        await anext(tokens)
        os.kill(pid, 9)
        with pytest.raises(UnavailableError):
            async for _token in tokens:
                pass
    assert int(await answer(chat, "who are you?", within(60.0))) != pid


def test_stand_ins_keep_what_was_pickled(tmp_path: Path) -> None:
    """In a process without vLLM, what a process with it pickled is read, exceptions as exceptions."""
    names = write_protocol_names(tmp_path)
    pickling = (
        "import pickle, sys; from vllm.entrypoints.serve.engine.protocol import *;"
        "from vllm.v1.engine.exceptions import EngineDeadError;"
        "error = ErrorResponse(error=ErrorInfo(message='no', type='t', code=400));"
        "sys.stdout.buffer.write(pickle.dumps((error, EngineDeadError('gone'))))"
    )
    made = subprocess.run(
        [sys.executable, "-c", pickling], env={"PYTHONPATH": str(names)}, capture_output=True, check=True
    )
    reading = (
        "import pickle, sys; from deployments.engines.llm_server import read_answers_without_vllm;"
        "assert read_answers_without_vllm();"
        "answer, error = pickle.loads(sys.stdin.buffer.read());"
        "print(type(answer).__name__, answer.error.code, answer.error.message);"
        "print(repr(error), isinstance(error, Exception))"
    )
    read = subprocess.run(
        [sys.executable, "-c", reading],
        input=made.stdout,
        env={"PYTHONPATH": str(servers.ROOT)},
        capture_output=True,
        check=True,
    )
    assert read.stdout.decode().strip().split("\n") == ["ErrorResponse 400 no", "EngineDeadError('gone') True"]
