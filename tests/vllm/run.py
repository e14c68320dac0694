"""Real vLLM on the CPU behind `ray.serve.llm`: both bindings by handle, checked and measured against HTTP.

It makes a second environment with vLLM, which is kept in the user's cache folder, converts the default language model,
and starts one cluster of two environments. One replica answers over three ways: over HTTP, by the handle of the
`LLMServer`, and as Hearth's language model itself. First what must hold is checked. Then each way is measured in turns:

* what is added to the first token: from the question to its first token at the client, less the engine's part of it
* CPU outside of the engine's processes, for an answer of 256 tokens
* from leaving an answer to its abort in the engine, for many answers at once

Last the engine is killed, and two replicas take its place, which hold conversations.

torch for the CPU comes from its own package index, or from the folder that UV_FIND_LINKS names. It takes 6 GB of
memory.
"""

import asyncio
import os
import signal
from dataclasses import dataclass

import psutil

from tests.benchmarks.figures import Figure
from tests.vllm.bindings import Bindings, Model, Way, running
from tests.vllm.checks import check, engine_killed
from tests.vllm.measurements import aborts, compared, first_tokens, processor_time, warm_turns

BY_HANDLE = (Way.HANDLE, Way.OWN)
_ENGINE_CORE = "VLLM::EngineCore"


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is measured.

    Attributes:
        first_tokens: Rounds of questions that are left at their first token.
        answers: Rounds of answers at full length.
        streams: Answers that are left at once.
        leaves: How often.
        idle_s: Seconds to measure the idle share.
        conversations: Of two turns, over each binding; 0 leaves out the second replica.
        is_killed: Whether the engine is killed.
    """

    first_tokens: int = 30
    answers: int = 2
    streams: int = 32
    leaves: int = 3
    idle_s: float = 5.0
    conversations: int = 50
    is_killed: bool = True


SMOKE = Scope(first_tokens=2, answers=1, streams=4, leaves=1, idle_s=0.2, conversations=2, is_killed=False)


def run(model: Model, scope: Scope) -> list[Figure]:
    """Check and measure a model; return the figures.

    Raises:
        AssertionError: A check failed.
    """
    with running(model) as bindings:
        figures = asyncio.run(_measured(bindings, scope))
        if scope.is_killed:
            asyncio.run(engine_killed(bindings, Way.OWN, _kill_engine))
        if scope.conversations:
            bindings.scale(2)
            figures += asyncio.run(warm_turns(bindings, BY_HANDLE, scope.conversations))
        return figures


async def _measured(bindings: Bindings, scope: Scope) -> list[Figure]:
    for way in BY_HANDLE:
        await check(bindings, way)
    samples = await first_tokens(bindings, bindings.model.ways, scope.first_tokens)
    print("first tokens measured", flush=True)
    await processor_time(bindings, samples, scope.answers, scope.idle_s)
    print("CPU measured", flush=True)
    await aborts(bindings, samples, scope.streams, scope.leaves)
    return compared(samples)


def _kill_engine() -> None:
    """Kill the process of vLLM's engine, below this one."""
    for process in psutil.Process().children(recursive=True):
        command = process.cmdline()
        if command and command[0].startswith(_ENGINE_CORE):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError("no engine runs")
