"""What a local stack takes that nobody asks anything of: CPU and memory of each of its processes.

It measures the stack that `hearth up` has started here. Where there is none, it starts one with a state folder of its
own, and ends it. Processes have settled when two stretches of time differ by less than a tenth.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from bridges.command_line.local.state import state_folder
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, plain
from tests.benchmarks.local_processes import ProcessFamily, family_of, proportional_set_size, started_processes
from tests.benchmarks.local_start import Checkout, local_start
from tests.benchmarks.site import Site

MOST_CPU = 8.0
"""Per cent of a core that all processes may take."""
MOST_MEMORY_GB = 2.2
_STEADY = 0.1
_LONGEST_SETTLING = 12


@dataclass(frozen=True)
class Options:
    seconds: float = option(60.0, 1.0, "that are measured")
    settle: float = option(5.0, 0.5, "seconds of a stretch of time before that, of which there are at least two")
    against: str = option("", "", "folder of another checkout, which is measured instead of this one")
    stand_ins: bool = option(False, True, "whether a stack with models that cost nothing is started, and no speech")


@dataclass(frozen=True)
class AtRest:
    """What one process takes.

    Attributes:
        title: What it is called.
        cpu: Per cent of a core.
        bytes: Of memory, as proportional set size.
    """

    title: str
    cpu: float
    bytes: int


@asynccontextmanager
async def running_stack(options: Options) -> AsyncGenerator[list[psutil.Process]]:
    """Give the processes from which all others of a stack come."""
    is_own = options.stand_ins or options.against
    if not is_own and (found := started_processes(state_folder())):
        yield found
        return
    checkout = Checkout.at(options.against) if options.against else Checkout.this()
    async with local_start(checkout, stand_ins=options.stand_ins) as start:
        print(f"starting {checkout.folder}", file=sys.stderr)
        await start.up()
        yield start.family.living


async def measure(options: Options) -> list[Figure]:
    async with running_stack(options) as roots:
        family = family_of(roots, time.time())
        await settle(family, options.settle)
        found = await take(family, options.seconds)
    print(f"\n{'':<45}{'CPU':>10}{'memory':>10}")
    for one in sorted(found, key=lambda one: -one.cpu):
        print(f"{one.title:<45}{one.cpu:>8.2f} %{one.bytes / 1e6:>7.0f} MB")
    return figures(found)


async def settle(family: ProcessFamily, stretch_s: float) -> None:
    """Return once two stretches of time have taken as much CPU, or after twelve."""
    before = await _cpu_of_stretch(family, stretch_s)
    for _ in range(_LONGEST_SETTLING):
        now = await _cpu_of_stretch(family, stretch_s)
        if abs(now - before) <= _STEADY * before:
            return
        before = now


async def _cpu_of_stretch(family: ProcessFamily, stretch_s: float) -> float:
    return sum(one.cpu for one in await take(family, stretch_s))


async def take(family: ProcessFamily, seconds: float) -> list[AtRest]:
    """Return what each process takes in some seconds."""
    family.look(time.time())
    before = {process: usage.cpu_s for process, usage in family.usages.items()}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    family.look(time.time())
    took = time.monotonic() - began
    return [
        AtRest(usage.title, 100 * (usage.cpu_s - before.get(process, 0.0)) / took, proportional_set_size(process))
        for process, usage in family.usages.items()
        if process.is_running()
    ]


def figures(found: Collection[AtRest]) -> list[Figure]:
    replicas = [one for one in found if one.title.startswith("replica")]
    return [
        plain(
            "CPU of all processes at rest, per cent of a core", sum(one.cpu for one in found), "%", at_most(MOST_CPU)
        ),
        plain("of which replicas", sum(one.cpu for one in replicas), "%"),
        plain("memory of all processes", sum(one.bytes for one in found) / 1e9, "GB", at_most(MOST_MEMORY_GB)),
        plain("of which replicas", sum(one.bytes for one in replicas) / 1e9, "GB"),
        plain("processes", len(found)),
        plain("of which replicas", len(replicas)),
    ]


def run(options: Options, site: Site) -> list[Figure]:
    del site
    return asyncio.run(measure(options))


BENCHMARK = Benchmark("at_rest", __doc__, takes="three minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
