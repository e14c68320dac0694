"""Every benchmark runs, in its smallest form, on the servers that the other tests use and on one cluster of its own."""

from collections.abc import Collection, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from deployments.models.store import ModelStore
from tests.benchmarks.benchmark import Benchmark
from tests.benchmarks.catalogue import benchmarks
from tests.benchmarks.site import OwnSite, ShippedGraph, Site
from tests.benchmarks.stand_in_graph import Side, StandInGraph
from tests.end_to_end.conftest import Graph

SIDES = (Side.REPLACED, Side.TOGETHER, Side.LIVE, Side.SCALED)


@dataclass
class SharedSite:
    """The servers of this test session; graphs with stand-ins for models are started when the first is asked for."""

    milvus_uri: str
    graph: Graph
    running: ExitStack
    stand_ins: list[StandInGraph] = field(default_factory=list[StandInGraph])

    @contextmanager
    def milvus(self) -> Generator[str]:
        yield self.milvus_uri

    @contextmanager
    def shipped_graph(self, *, check_sentences: bool = True) -> Generator[ShippedGraph]:
        del check_sentences
        yield ShippedGraph(self.graph.nats_url, self.graph.metrics)

    @contextmanager
    def stand_in_graph(self, sides: Collection[Side]) -> Generator[StandInGraph]:
        assert set(sides) <= set(SIDES)
        if not self.stand_ins:
            self.stand_ins.append(self.running.enter_context(OwnSite().stand_in_graph(SIDES)))
        yield self.stand_ins[0]


@pytest.fixture(scope="module")
def site(graph: Graph, milvus_uri: str, models: ModelStore, module_patch: pytest.MonkeyPatch) -> Generator[Site]:
    module_patch.setenv("HEARTH_MODELS", str(models.folder))
    with ExitStack() as running:
        yield SharedSite(milvus_uri, graph, running)


@pytest.fixture(scope="module")
def module_patch() -> Generator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda benchmark: benchmark.name)
def test_the_smallest_form_measures_everything(benchmark: Benchmark[Any], site: Site):
    figures = benchmark.run(benchmark.smoke(), site)
    assert figures
    assert [figure.line() for figure in figures if not figure.is_measured] == []
    # However small the form is, nobody's request is lost in it.
    lost = [
        figure.line() for figure in figures if figure.title.endswith((": lost", ": answered twice")) and figure.value
    ]
    assert lost == []
