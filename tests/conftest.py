"""What every test may ask for: real servers, real models and one Ray cluster, each started once."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from bridges.command_line.local.local_stack import REPLICA_SITE, SERVE_ENVIRONMENT
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


@pytest.fixture(scope="session")
def ray_cluster(
    tmp_path_factory: pytest.TempPathFactory,
    models: ModelStore,
    nats_url: str,
    milvus_uri: str,
    collector: Collector,
    argo_server: ArgoServer,
    kubeflow_server: KubeflowServer,
) -> Generator[servers.RayCluster]:
    """Run a Ray head whose workers find the servers of this session."""
    environment = {
        "NATS_URL": nats_url,
        "MILVUS_HOST": milvus_uri,
        "ARGO_HOST": argo_server.url,
        "KUBEFLOW_HOST": kubeflow_server.url,
        "HEARTH_MODELS": str(models.folder),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        # Sooner than by default: tests wait for both.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "RAY_metrics_report_interval_ms": "1000",
        # The tests' own deployments are imported from the checkout; the other folder halves what a replica imports,
        # as it does for `hearth up`.
        "PYTHONPATH": os.pathsep.join((str(servers.ROOT), str(REPLICA_SITE))),
    }
    folder: Path = tmp_path_factory.mktemp("ray")
    with servers.ray_cluster(folder, environment) as cluster:
        yield cluster
