"""Where the time and the CPU of `hearth up` go, process by process and phase by phase, and what `hearth down` leaves.

A checkout's `hearth up` is started from outside, with an empty state folder, while a client asks a question and has a
sentence said, each again and again until it is answered. Processes are looked at five times a second, so what ends
sooner is not seen. What happened when is read from the logs of Ray Serve.

`--against FOLDER` does the same with another checkout, which has an environment of its own: both in each round, and the
ratios of the rounds. The smallest form starts models that cost nothing, without speech.
"""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.sound.saying import say, unheard
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import HearthError
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, median, ratio
from tests.benchmarks.local_processes import noted_nats_url, proportional_set_size
from tests.benchmarks.local_start import Checkout, Left, LocalStart, end, local_start
from tests.benchmarks.site import Site

QUESTION = "How long does the remote site keep monthly snapshots?"
SENTENCE = "The remote site keeps monthly snapshots for five years."
_ASK_EVERY_S = 0.1
_ANSWER_S = 30.0
_LINE = re.compile(r"^\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (\S+) \S+ -- (.*)$")


@dataclass(frozen=True)
class Options:
    rounds: int = option(3, 1, "starts of each checkout")
    against: str = option("", "", "folder of another checkout, which is started in turns with this one")
    stand_ins: bool = option(False, True, "whether models that cost nothing are started, and no speech")
    profile: bool = option(True, False, "whether phases and processes of the last start of each are printed")


@dataclass(frozen=True)
class Started:
    """What was measured of one start, in seconds since its beginning.

    Attributes:
        chat_s: When the first answer was there.
        speech_s: When the first sentence was said; None where there is no speech.
        ready_s: When `hearth up` had ended.
        cpu_s: Seconds of CPU of all processes by then.
        bytes: Memory of all processes by then, as proportional set size.
        left: What `hearth down` left.
        profile: Lines of text: phases and processes.
    """

    chat_s: float
    speech_s: float | None
    ready_s: float
    cpu_s: float
    bytes: int
    left: Left
    profile: list[str]


@dataclass
class Starts:
    """The starts of one checkout."""

    checkout: Checkout
    rounds: list[Started] = field(default_factory=list[Started])


@dataclass(frozen=True, order=True)
class Phase:
    """Something that took a while, in Unix seconds."""

    began: float
    ended: float
    title: str


async def start_once(checkout: Checkout, options: Options) -> Started:
    """Start and end a checkout's local stack."""
    async with local_start(checkout, stand_ins=options.stand_ins) as start:
        async with asyncio.TaskGroup() as group:
            ready = group.create_task(_until_up(start))
            chat = group.create_task(_first(start, _ask))
            speech = None if options.stand_ins else group.create_task(_first(start, _say))
        ready_s, cpu_s, sizes = ready.result()
        profile = [*_phases(start), *_processes(start, sizes)]
        left = await end(start)
        return Started(
            chat.result(), speech.result() if speech else None, ready_s, cpu_s, sum(sizes.values()), left, profile
        )


async def _until_up(start: LocalStart) -> tuple[float, float, dict[int, int]]:
    """Return when `hearth up` had ended, the CPU by then, and the memory of each process."""
    await start.up()
    ready_s = time.time() - start.began
    return ready_s, start.cpu_s, {one.pid: proportional_set_size(one) for one in start.family.living}


async def _first(start: LocalStart, ask: Callable[[HearthClient], Awaitable[None]]) -> float:
    """Ask until there is an answer, and return when it was there."""
    while True:
        if url := noted_nats_url(start.state_folder):
            # Nobody listens, or takes requests yet, or the model behind is not there.
            with contextlib.suppress(HearthError):
                async with connected(url) as client:
                    await ask(client)
                    return time.time() - start.began
        await asyncio.sleep(_ASK_EVERY_S)


async def _ask(client: HearthClient) -> None:
    request = messages_pb2.ChatRequest(message=QUESTION, enable_rag=True, enable_reranker=True)
    async with aclosing(client.ask(request, _ANSWER_S)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse) and not item.success:
                raise HearthError(item.error)


async def _say(client: HearthClient) -> None:
    await say(client, messages_pb2.TTSRequest(text=SENTENCE), _ANSWER_S, unheard)


# The profile.


def _phases(start: LocalStart) -> Iterator[str]:
    """Yield what Ray Serve's logs tell of the start, in the order in which it began."""
    folder = _serve_logs(start)
    phases = sorted(phases_of(folder)) if folder else []
    yield f"\n{start.checkout.name}: phases, in seconds since the start\n"
    for phase in phases:
        began, ended = phase.began - start.began, phase.ended - start.began
        yield f"{phase.title:<60}{began:>8.1f} to {ended:>5.1f}{ended - began:>8.1f} s"


def _serve_logs(start: LocalStart) -> Path | None:
    """Return the folder of the logs, which the raylet's command line names; None where there is no raylet."""
    for process in start.family.living:
        if found := re.search(r"--session[-_]dir=(\S+)", " ".join(process.cmdline())):
            return Path(found[1]) / "logs" / "serve"
    return None


def phases_of(folder: Path) -> Iterator[Phase]:
    """Yield the phases of a start from the logs of Ray Serve.

    An application is built; a replica waits for its process, whose imports end when its constructor begins, and it is
    ready once the controller knows it.
    """
    at: dict[str, float] = {}
    for file in sorted(folder.glob("*.log")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := _LINE.match(line):
                _note(at, found[2], found[3], datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone())
    steps = {
        "application {}: imported and built": ("build {}", "built {}"),
        "replica {}: process and imports": ("adding {}", "constructor {}"),
        "replica {}: constructor, which loads models": ("constructor {}", "constructed {}"),
        "replica {}: until the controller knows": ("constructed {}", "known {}"),
    }
    names = {key.split(" ", 1)[1] for key in at}
    for title, (began, ended) in steps.items():
        for name in names:
            if began.format(name) in at and ended.format(name) in at:
                yield Phase(at[began.format(name)], at[ended.format(name)], title.format(name))
    controller = [when for key, when in at.items() if key.startswith("controller ")]
    if controller:
        yield Phase(min(controller), max(at.values()), "Serve controller: until its last line")


_MESSAGES = {
    r"Controller starting": "controller begins",
    r"Importing and building app '(.+)'": "build {}",
    r"Imported and built app '(.+)' successfully": "built {}",
    r"Starting Replica\(id='\w+', deployment='(\w+)'": "adding {}",
    r"Replica\(id='\w+', deployment='(\w+)', app='.*'\) started successfully": "known {}",
}


def _note(at: dict[str, float], component: str, text: str, when: datetime) -> None:
    for pattern, key in _MESSAGES.items():
        if found := re.match(pattern, text):
            at.setdefault(key.format(*found.groups()), when.timestamp())
    deployment = component.rsplit("_", 1)[-1]
    if text == "Started initializing replica.":
        at.setdefault(f"constructor {deployment}", when.timestamp())
    if text == "Finished initializing replica.":
        at.setdefault(f"constructed {deployment}", when.timestamp())


def _processes(start: LocalStart, sizes: dict[int, int]) -> Iterator[str]:
    """Yield what each process took, the one that took most first."""
    yield f"\n{start.checkout.name}: processes, in seconds since the start\n"
    yield f"{'':<45}{'from':>8}{'to':>8}{'CPU':>8}{'memory':>10}"
    for process, usage in sorted(start.family.usages.items(), key=lambda one: -one[1].cpu_s):
        began, ended = usage.began - start.began - start.skew_s, usage.seen - start.began
        to = "" if process.pid in sizes else f"{ended:.1f}"
        size = f"{sizes[process.pid] / 1e6:.0f} MB" if process.pid in sizes else ""
        yield f"{usage.title:<45}{began:>8.1f}{to:>8}{usage.cpu_s:>8.2f}{size:>10}"


# The figures.


async def measure(options: Options) -> list[Figure]:
    checkouts = [Checkout.this(), *([Checkout.at(options.against)] if options.against else [])]
    sides = [Starts(checkout) for checkout in checkouts]
    for at in range(options.rounds):
        # Each goes first as often as the other: files that were read stay in memory.
        for side in sides if at % 2 == 0 else reversed(sides):
            started = await start_once(side.checkout, options)
            side.rounds.append(started)
            print(f"round {at + 1}, {side.checkout.name}: ready after {started.ready_s:.1f} s", file=sys.stderr)
    if options.profile:
        print("\n".join(line for side in sides for line in side.rounds[-1].profile))
    return [*(figure for side in sides for figure in figures(side)), *ratios(sides)]


def figures(side: Starts) -> list[Figure]:
    """Return what was measured of one checkout."""
    name, rounds = side.checkout.name, side.rounds
    speech = [one.speech_s for one in rounds if one.speech_s is not None]
    return [
        median(f"{name}: start to the first answer", [one.chat_s for one in rounds], "s"),
        *([median(f"{name}: start to the first sentence said", speech, "s")] if speech else []),
        median(f"{name}: start to all ready", [one.ready_s for one in rounds], "s", at_most(60)),
        median(f"{name}: CPU until all is ready", [one.cpu_s for one in rounds], "s"),
        median(f"{name}: memory of all processes, then", [one.bytes / 1e9 for one in rounds], "GB"),
        median(f"{name}: hearth down", [one.left.took_s for one in rounds], "s"),
        median(f"{name}: processes that it left", [len(one.left.processes) for one in rounds], "", at_most(0)),
        median(f"{name}: ports that it left", [len(one.left.ports) for one in rounds], "", at_most(0)),
    ]


def ratios(sides: list[Starts]) -> list[Figure]:
    """Return how this checkout is to the other one, where there is one: medians of the ratios of the rounds."""
    if len(sides) == 1:
        return []
    this, other = (side.rounds for side in sides)
    values: dict[str, Callable[[Started], float]] = {
        "start to the first answer": lambda one: one.chat_s,
        "start to the first sentence said": lambda one: one.speech_s or 0.0,
        "start to all ready": lambda one: one.ready_s,
        "CPU until all is ready": lambda one: one.cpu_s,
        "memory": lambda one: one.bytes,
        "hearth down": lambda one: one.left.took_s,
    }
    return [
        ratio(f"this / other: {title}", [*map(value, this)], [*map(value, other)]) for title, value in values.items()
    ]


def run(options: Options, site: Site) -> list[Figure]:
    del site
    return asyncio.run(measure(options))


BENCHMARK = Benchmark("start", __doc__, takes="four minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
