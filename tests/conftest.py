"""What every test may ask for: real servers and real models, each started once."""

import os
import signal
from collections.abc import Generator

import pytest

from bridges.command_line.local.bytecode import with_bytecode
from bridges.command_line.local.local_stack import SERVE_ENVIRONMENT
from bridges.command_line.local.model_download import ModelFetcher, models_to_fetch
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from tests import servers
from tests.collector import Collector, running_collector
from tests.workflow_engines.argo import ArgoServer
from tests.workflow_engines.engine_server import serving
from tests.workflow_engines.kubeflow import KubeflowServer

# Before Ray is imported. Under `uv run` Ray would build a second environment for its workers; the token that a
# cluster on this machine may have is not the tests'.
os.environ.update(
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    HF_HUB_OFFLINE="1",
    **SERVE_ENVIRONMENT,
)

# What tests start need not compile the same packages again and again either.
_compiled = with_bytecode(os.environ, servers.ROOT / ".pytest_cache" / "bytecode")
os.environ.clear()
os.environ.update(_compiled)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background, and programs inherit it: those that tests send a Ctrl-C to would
    # never hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def models() -> ModelStore:
    """Return a store with the default models, fetched if they are not there."""
    manifest, store = Manifest.load(), ModelStore.from_environment()
    fetcher = ModelFetcher(manifest, store)
    for model in models_to_fetch(manifest, [], everything=False):
        fetcher.fetch(model, lambda _: None)
    return store


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("nats")
    with servers.nats_server(folder, "-js", "-sd", str(folder / "store")) as url:
        yield url


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with servers.milvus_server(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@pytest.fixture(scope="session")
def collector() -> Generator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="session")
def argo_server() -> Generator[ArgoServer]:
    with serving(ArgoServer("document-ingestion", "batch-inference")) as running:
        yield running


@pytest.fixture(scope="session")
def kubeflow_server() -> Generator[KubeflowServer]:
    with serving(KubeflowServer("rag-query", "voice-pipeline")) as running:
        yield running
