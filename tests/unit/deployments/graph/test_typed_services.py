"""What the type checker says of services that are called, built or bound wrongly: pyright run on planted faults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyright", reason="the type checker comes with the group `lint`")

ROOT = Path(__file__).resolve().parents[4]

BEFORE = """\
from collections.abc import AsyncGenerator

from ray.serve import Application

from deployments.call import Call
from deployments.graph.definitions import CHAT, EMBEDDINGS, RETRIEVAL, SPEECH
from deployments.graph.deployment import Replica
from deployments.orchestration import build_chat, build_ingestion, build_retrieval
from deployments.services import ChatService
from deployments.settings.orchestration import OrchestrationSettings
from deployments.values.retrieval import RetrievalQuery
from deployments.values.speech import SpeechText
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors


class WithoutStatus:
    async def embed(self, call: Call, texts: list[str]) -> Vectors:
        raise NotImplementedError


class OtherArgument:
    async def embed(self, call: Call, texts: int) -> Vectors:
        raise NotImplementedError

    async def status(self, call: Call) -> ComponentStatus:
        raise NotImplementedError


def built_without_status() -> Replica[WithoutStatus]:
    return Replica(WithoutStatus())


async def check_health_of(call: Call) -> None: ...


async def right(call: Call, settings: OrchestrationSettings) -> Application:
    chat: ChatService = CHAT.in_application("orchestration")
    greeting: str = await chat.greet(call, name="Ada")
    stream: AsyncGenerator[object] = SPEECH.in_application("orchestration").say(call, SpeechText(greeting))
    await stream.aclose()
    return CHAT.bind(build_chat, settings, {})


async def wrong(call: Call, settings: OrchestrationSettings) -> None:
"""

FAULTS = {
    "a misspelt method": (
        '_ = await CHAT.in_application("a").gret(call, "Ada")',
        "reportAttributeAccessIssue",
    ),
    "a method of another service": (
        '_ = await RETRIEVAL.in_application("a").greet(call, "Ada")',
        "reportAttributeAccessIssue",
    ),
    "an argument of another type": (
        '_ = await RETRIEVAL.in_application("a").retrieve(call, "what?")',
        "reportArgumentType",
    ),
    "an argument too few": (
        '_ = await CHAT.in_application("a").greet(call)',
        "reportCallIssue",
    ),
    "an argument too many": (
        '_ = await CHAT.in_application("a").greet(call, "Ada", "Bob")',
        "reportCallIssue",
    ),
    "a misspelt argument": (
        '_ = await RETRIEVAL.in_application("a").retrieve(call, qury=RetrievalQuery("what?"))',
        "reportCallIssue",
    ),
    "no call": (
        '_ = await CHAT.in_application("a").greet("Ada")',
        "reportCallIssue",
    ),
    "a stream that is awaited": (
        '_ = await SPEECH.in_application("a").say(call, SpeechText("Hello."))',
        "reportGeneralTypeIssues",
    ),
    "an answer taken for something else": (
        'number: int = await CHAT.in_application("a").greet(call, "Ada")',
        "reportAssignmentType",
    ),
    "a service in process that lacks a method": (
        "_ = EMBEDDINGS.in_process(WithoutStatus())",
        "reportArgumentType",
    ),
    "a service in process whose method takes something else": (
        "_ = EMBEDDINGS.in_process(OtherArgument())",
        "reportArgumentType",
    ),
    "a build whose service lacks a method": (
        "_ = EMBEDDINGS.bind(built_without_status)",
        "reportArgumentType",
    ),
    "the build of another service": (
        "_ = CHAT.bind(build_ingestion, settings)",
        "reportArgumentType",
    ),
    "the build of another service, in process": (
        "_ = CHAT.connect({}, build_retrieval, settings)",
        "reportArgumentType",
    ),
    "a build that is given too little": (
        "_ = CHAT.bind(build_chat, settings)",
        "reportCallIssue",
    ),
    "a build that is given something else": (
        "_ = RETRIEVAL.bind(build_retrieval, {})",
        "reportArgumentType",
    ),
    "a health check that wants an argument": (
        "_ = Replica(OtherArgument(), check_health=check_health_of)",
        "reportArgumentType",
    ),
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[int, set[str]]:
    """Run pyright once on all faults; return the rules that are broken by line, from 1."""
    folder = tmp_path_factory.mktemp("planted")
    lines = "".join(f"    {line}\n" for line, _ in FAULTS.values())
    (folder / "planted.py").write_text(BEFORE + lines, encoding="utf-8")
    config = {"include": ["planted.py"], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert answer["summary"]["filesAnalyzed"] == 1
    rules: dict[int, set[str]] = {}
    for found in answer["generalDiagnostics"]:
        rules.setdefault(found["range"]["start"]["line"] + 1, set()).add(found["rule"])
    return rules


def test_what_is_right_is_not_reported(reported: dict[int, set[str]]) -> None:
    assert {line: rules for line, rules in reported.items() if line <= BEFORE.count("\n")} == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_an_error_of_the_type_checker(fault: str, reported: dict[int, set[str]]) -> None:
    line = BEFORE.count("\n") + 1 + list(FAULTS).index(fault)
    assert FAULTS[fault][1] in reported.get(line, set())
