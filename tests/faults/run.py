"""Runs faults, one at a time, under load; says what became of the requests."""

import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.faults.asked import Account, Happened, Kind, account
from tests.faults.background import BackgroundLoop
from tests.faults.faults import Fault
from tests.faults.graph_stand import graph_stand
from tests.faults.killable import SmallDisk
from tests.faults.load import Load
from tests.faults.stand import SMALL_DISK_MB, Mode, Stand, process_stand

_WELL_S = 180.0
_PROBE_S = 2.0
_LOOK_S = 0.2
_PAUSE_S = 0.5
_SHOWN_EVERY = 0.1

Told = Callable[[str], None]
"""Called with what is being done."""


@dataclass(frozen=True, slots=True)
class Options:
    """How faults are tried.

    Attributes:
        requests: Sent for each fault.
        rate: Of them a second.
        timeout_s: Seconds after which a client waits no more; the graph knows of it.
        lasts_s: Seconds for which a network or a disk is broken.
        times: How often each fault is made while the requests are sent, evenly spread.
        with_ray: Whether the graph is the real one on Ray, or a few lines in two processes.
        logs: Where logs stay; None for nowhere.
    """

    requests: int = 1000
    rate: float = 20.0
    timeout_s: float = 30.0
    lasts_s: float = 8.0
    times: int = 1
    with_ray: bool = True
    logs: Path | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a fault has done.

    Attributes:
        fault: Its name.
        about: What happened, in words.
        mode: How requests were taken.
        account: What became of them; None where it was not run.
        trouble: Why it was not run, or what did not come right again; empty for nothing.
    """

    fault: str
    about: str
    mode: Mode
    account: Account | None
    trouble: str = ""

    @property
    def holds(self) -> bool:
        """Whether nothing was lost or came twice where that was promised, and all was well again."""
        if self.account is None:
            return True
        is_whole = not self.account.lost and not self.account.twice
        return not self.trouble and (is_whole or self.mode is Mode.CORE)


def run(faults: Sequence[Fault], modes: Iterable[Mode], options: Options, told: Told) -> Iterator[Result]:
    """Yield the result of each fault in each mode, as it is known."""
    for mode in modes:
        possible = list[Fault]()
        for fault in faults:
            if reason := _why_not(fault, options):
                yield Result(fault.name, fault.about, mode, None, reason)
            else:
                possible.append(fault)
        for _, group in groupby(sorted(possible, key=_stand_key), _stand_key):
            yield from _run_on_one_stand(list(group), mode, options, told)


def _why_not(fault: Fault, options: Options) -> str:
    if fault.nodes and not options.with_ray:
        return "it takes Ray: leave out --without-ray"
    return fault.why_not()


def _stand_key(fault: Fault) -> tuple[int, bool]:
    """Return what faults on one stand have in common: one that takes no Ray is made on one node all the same."""
    return max(1, fault.nodes), fault.small_disk


def _run_on_one_stand(faults: list[Fault], mode: Mode, options: Options, told: Told) -> Iterator[Result]:
    nodes, small_disk = _stand_key(faults[0])
    told(f"{mode}: starting {'a graph on ' + _nodes(nodes) if options.with_ray else 'two ingresses without Ray'}")
    with BackgroundLoop() as loop, _stand(loop, mode, options, nodes, small_disk=small_disk) as stand:
        for at, fault in enumerate(faults):
            result = _run(stand, fault, mode, options, told, f"{fault.name}-{time.time_ns()}")
            yield result
            if result.trouble:
                for other in faults[at + 1 :]:
                    yield Result(other.name, other.about, mode, None, f"nothing was well again after {fault.name}")
                return


def _nodes(number: int) -> str:
    return "one Ray node" if number == 1 else f"{number} Ray nodes"


@contextmanager
def _stand(loop: BackgroundLoop, mode: Mode, options: Options, nodes: int, *, small_disk: bool) -> Generator[Stand]:
    with ExitStack() as stack:
        if options.logs is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-faults-")))
        else:
            folder = options.logs / f"{mode}-{nodes}{'-disk' if small_disk else ''}"
            folder.mkdir(parents=True)
        store = stack.enter_context(SmallDisk(folder / "disk", SMALL_DISK_MB)) if small_disk else None
        if options.with_ray:
            yield stack.enter_context(graph_stand(folder, loop, mode, options.timeout_s, store, nodes))
        else:
            yield stack.enter_context(process_stand(folder, loop, mode, store))


def _run(stand: Stand, fault: Fault, mode: Mode, options: Options, told: Told, prefix: str) -> Result:
    is_durable = mode is Mode.DURABLE
    kinds = [kind for kind in stand.kinds if not (fault.cuts_clients and kind is Kind.GREETING)]
    load = Load(stand.broker.url, kinds, makes_sure=is_durable)
    stand.loop.run(load.__aenter__())
    try:
        if trouble := _trouble(stand, load, f"{prefix}-before", told):
            return Result(fault.name, fault.about, mode, None, f"not well before the fault: {trouble}")
        happened = _break_under_load(stand, load, fault, options, prefix, lambda line: told(f"{mode} {line}"))
        told(f"{mode} {fault.name}: waiting for {load.open()} answers")
        stand.loop.run(load.until_answered(options.timeout_s))
        found = account(list(load.asked.values()), happened, options.timeout_s)
        trouble = _trouble(stand, load, f"{prefix}-after", told)
    finally:
        stand.loop.run(load.__aexit__())
    return Result(fault.name, fault.about, mode, found, trouble and f"not well again: {trouble}")


def _break_under_load(
    stand: Stand, load: Load, fault: Fault, options: Options, prefix: str, told: Told
) -> list[Happened]:
    """Ask, and make the fault meanwhile; return when it happened."""
    reached = threading.Semaphore(0)
    every = options.requests // (options.times + 1)
    breaks = {every * (number + 1) for number in range(options.times)}
    shown = max(1, int(options.requests * _SHOWN_EVERY))

    def sent(number: int) -> None:
        if number % shown == 0:
            told(f"{fault.name}: {number} of {options.requests} sent, {load.open()} open")
        if number in breaks:
            reached.release()

    asking = stand.loop.start(load.ask_steadily(options.requests, options.rate, prefix, sent))
    happened = list[Happened]()
    for _ in range(options.times):
        _until(reached, asking)
        happened.append(Happened(time.monotonic(), load.open()))
        told(f"{fault.name}: {fault.about}")
        fault.make(stand, options.lasts_s)
    asking.result()
    return happened


def _until(reached: threading.Semaphore, asking: Future[None]) -> None:
    while not reached.acquire(timeout=_LOOK_S):
        if asking.done():
            asking.result()


def _trouble(stand: Stand, load: Load, prefix: str, told: Told) -> str:
    """Wait until all runs, and a request of each kind is answered well; return what kept it from that for too long."""
    until, attempt, trouble = time.monotonic() + _WELL_S, 0, "nothing was asked"
    while trouble and time.monotonic() < until:
        attempt += 1
        trouble = stand.missing() or stand.loop.run(load.trouble(f"{prefix}-{attempt}", _PROBE_S))
        if trouble:
            told(f"waiting: {trouble}")
            time.sleep(_PAUSE_S)
    return trouble
