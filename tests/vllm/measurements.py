"""What the ways to one model cost, measured in turns."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import psutil

from deployments.values.language import Prompt
from tests.benchmarks.figures import (
    Bar,
    Figure,
    at_least,
    at_most,
    median,
    milliseconds,
    percentile,
    plain,
    ratio,
    share,
)
from tests.pieces import texts
from tests.vllm.bindings import Bindings, Way
from tests.vllm.checks import SYSTEM, second_turn_is_warm, story, within

TOKENS = 256
FIRST_TOKEN = at_most(0.5)
CPU = at_most(0.6)
ABORT_MS = at_most(50)
WARM = at_least(99)
_ENGINE = "VLLM::"
"""How vLLM calls the processes that compute."""


@dataclass
class Samples:
    """What was measured of one way.

    Attributes:
        added_s: Seconds from the question to its first token, less those in the engine.
        cpu_s: Seconds of CPU outside of the engine's processes, for an answer of `TOKENS` tokens.
        abort_s: Seconds from leaving an answer to the engine's being told.
    """

    added_s: list[float] = field(default_factory=list[float])
    cpu_s: list[float] = field(default_factory=list[float])
    abort_s: list[float] = field(default_factory=list[float])


async def first_tokens(bindings: Bindings, ways: Iterable[Way], rounds: int) -> dict[Way, Samples]:
    """Ask a question each round over each way, and leave it at its first token."""
    samples = {way: Samples() for way in ways}
    for number in range(rounds + 1):
        for way, sample in samples.items():
            asked, begun = story(), time.monotonic()
            async with aclosing(texts(bindings.way(way).generate(within(), Prompt(SYSTEM, asked)))) as said:
                await anext(said)
                taken = time.monotonic() - begun
            chat = await asyncio.to_thread(bindings.chat, asked)
            assert chat.first is not None
            # In the first round connections are made.
            if number:
                sample.added_s.append(taken - (chat.first - chat.begun))
    return samples


async def processor_time(bindings: Bindings, samples: Mapping[Way, Samples], rounds: int, idle_s: float) -> None:
    """Measure the CPU of answers at their full length, one at a time."""
    before = _processor_s()
    await asyncio.sleep(idle_s)
    idle_share = (_processor_s() - before) / idle_s
    for _ in range(rounds):
        for way, sample in samples.items():
            begun, before, pieces = time.monotonic(), _processor_s(), 0
            async with aclosing(texts(bindings.way(way).generate(within(), Prompt(SYSTEM, story())))) as said:
                async for _text in said:
                    pieces += 1
            spent = _processor_s() - before - idle_share * (time.monotonic() - begun)
            sample.cpu_s.append(spent * TOKENS / max(1, bindings.model.max_tokens))


async def aborts(bindings: Bindings, samples: Mapping[Way, Samples], streams: int, rounds: int) -> None:
    """Leave many answers at once, each round, and look when the engine was told of each."""
    for _ in range(rounds):
        for way, sample in samples.items():
            questions = [story() for _ in range(streams)]
            clients = [texts(bindings.way(way).generate(within(), Prompt(SYSTEM, one))) for one in questions]
            await asyncio.gather(*(anext(said) for said in clients))
            begun = time.monotonic()
            await asyncio.gather(*(said.aclose() for said in clients))
            for asked in questions:
                chat = await asyncio.to_thread(bindings.chat, asked)
                assert chat.aborted is not None, "the answer ended before it was left"
                sample.abort_s.append(chat.aborted - begun)


async def warm_turns(bindings: Bindings, ways: Iterable[Way], conversations: int) -> list[Figure]:
    """Hold conversations of two turns with several replicas; return how many second turns found the first one."""
    figures: list[Figure] = []
    for way in ways:
        model, warm = bindings.way(way), 0
        for number in range(conversations):
            subject = f"{way.name} {number}."
            warm += await second_turn_is_warm(bindings, model, subject, f"{way.name}-{number}", facts=6)
        replicas = bindings.model.replicas
        figures.append(share(f"{way}: second turns with a warm prefix, {replicas} replicas", warm, conversations, WARM))
    return figures


def compared(samples: Mapping[Way, Samples]) -> list[Figure]:
    """Return what was measured of each way, and the ratios to HTTP."""
    figures: list[Figure] = []
    http = samples.get(Way.HTTP)
    for way, one in samples.items():
        figures.append(milliseconds(f"{way}: added to the first token", one.added_s))
        figures.append(median(f"{way}: CPU outside of the engine per {TOKENS} tokens", one.cpu_s, "s"))
        figures.append(_p99(way, one.abort_s, None if way is Way.HTTP else ABORT_MS))
    for way, one in samples.items():
        if http is not None and way is not Way.HTTP:
            figures.append(
                ratio(f"{way} / {Way.HTTP}: added to the first token", one.added_s, http.added_s, FIRST_TOKEN)
            )
            figures.append(ratio(f"{way} / {Way.HTTP}: CPU per {TOKENS} tokens", one.cpu_s, http.cpu_s, CPU))
    return figures


def advice(figures: Iterable[Figure]) -> str:
    """Return which binding an owner should take, by the ratios to HTTP."""
    by_title = {figure.title: figure.value for figure in figures}

    def cost(way: Way) -> float:
        ratios = [by_title.get(f"{way} / {Way.HTTP}: {what}") for what in _COMPARED]
        return sum(value for value in ratios if value is not None)

    return f"the cheaper binding here: {min((Way.HANDLE, Way.OWN), key=cost)}"


_COMPARED = ("added to the first token", f"CPU per {TOKENS} tokens")


def _p99(way: Way, seconds: list[float], bar: Bar | None) -> Figure:
    value = percentile([1000 * one for one in seconds], 99)
    title = f"{way}: answer left to its abort in the engine, p99 of {len(seconds)}"
    return plain(title, value, "ms", bar) if value is not None else Figure(title, None, "ms")


def _processor_s() -> float:
    """Return the CPU seconds of this process and all below it, but those that compute."""
    own = psutil.Process()
    return sum(_seconds_of(process) for process in (own, *own.children(recursive=True)))


def _seconds_of(process: psutil.Process) -> float:
    try:
        command = process.cmdline()
        if command and command[0].startswith(_ENGINE):
            return 0.0
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
