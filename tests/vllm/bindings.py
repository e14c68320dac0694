"""One model of `ray.serve.llm`, and the three ways in which Hearth calls it.

All ways lead to the same replicas, whose class is `RayLanguageModel`: it is an `LLMServer` as well, and OpenAI's API
stands in front of it.
"""

import os
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import ray

from deployments.graph.definitions import LANGUAGE_MODEL
from deployments.services import LanguageModelService
from tests import servers
from tests.benchmarks.site import deploy, ray_environment
from tests.integration.llm_server.protocol_names import write_protocol_names
from tests.integration.llm_server.scripted_engine import MODEL as SCRIPTED_MODEL
from tests.vllm.second_environment import MODEL, SecondEnvironment
from tests.vllm.timed_engine import RECORDS_VARIABLE, Chat, chats

BLOCK_TOKENS = 32
CONTEXT_TOKENS = 2048
_START_S = 900.0
_SERVER = "deployments.ray_language_model:RayLanguageModel"
_LLM = "llm"


class Way(StrEnum):
    """How Hearth calls the model.

    * HTTP: the engine `openai`, through OpenAI's API in front of the model.
    * HANDLE: the engine `ray-serve-llm`, by the handle of the `LLMServer`.
    * OWN: the server itself is the language model; nothing is between.
    """

    HTTP = "over HTTP"
    HANDLE = "by handle"
    OWN = "in its place"


@dataclass(frozen=True, slots=True)
class Model:
    """What is deployed.

    Attributes:
        name: The model's id.
        second: What runs vLLM; None for the scripted engine, which needs none.
        replicas: Of the model.
        max_tokens: Of an answer.
    """

    name: str
    second: SecondEnvironment | None
    replicas: int = 1
    max_tokens: int = 256

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that lead to it: `ray.serve.llm` puts OpenAI's API in front of vLLM alone."""
        return tuple(Way) if self.second else (Way.HANDLE, Way.OWN)

    @property
    def deployment(self) -> str:
        return f"RayLanguageModel:{self.name.replace('/', '--').replace('.', '_')}"


def vllm_model(second: SecondEnvironment) -> Model:
    """Return the default language model, run by vLLM."""
    return Model(MODEL, second)


def scripted_model() -> Model:
    """Return the scripted engine's."""
    return Model(SCRIPTED_MODEL, None)


class Bindings:
    """A running model with its ways.

    Made by `running`.
    """

    def __init__(self, model: Model, cluster: servers.RayCluster, folder: Path) -> None:
        self.model = model
        self._cluster = cluster
        self._folder = folder
        self._http_port = servers.free_port()

    def way(self, way: Way) -> LanguageModelService:
        """Return a client of the language model."""
        if way is Way.OWN:
            return LANGUAGE_MODEL.in_application(_LLM, self.model.deployment)
        return LANGUAGE_MODEL.in_application(_application_name(way))

    def chats(self) -> list[Chat]:
        """Return what the engine wrote down so far."""
        return chats(self._records)

    def chat(self, asked: str) -> Chat:
        """Return the record of a question that was asked once; waited for, since it is written when the chat ends."""
        found: list[Chat] = []

        def is_there() -> bool:
            found[:] = [chat for chat in self.chats() if chat.asked == asked]
            return bool(found)

        servers.wait_until(f"the engine's record of {asked!r}", is_there)
        return found[-1]

    def scale(self, replicas: int) -> None:
        """Deploy another number of replicas; wait until they run."""
        self.model = replace(self.model, replicas=replicas)
        self.deploy()

    def deploy(self) -> float:
        """Deploy the model and its ways; return the seconds until all run."""
        self._records.touch()
        begun = time.monotonic()
        deploy(self._cluster.dashboard_url, self._config(), within_s=_START_S)
        return time.monotonic() - begun

    @property
    def _records(self) -> Path:
        return self._folder / "chats.jsonl"

    def _config(self) -> Mapping[str, Any]:
        ways = [_way_application(way, self.model, self._http_port) for way in self.model.ways if way is not Way.OWN]
        return {
            "proxy_location": "HeadOnly",
            "http_options": {"host": servers.LOOPBACK, "port": self._http_port},
            "logging_config": {"log_level": "WARNING", "enable_access_log": False},
            "applications": [self._model_application(), *ways],
        }

    def _model_application(self) -> Mapping[str, Any]:
        model, variables = self.model, {RECORDS_VARIABLE: str(self._records), "HF_HUB_OFFLINE": "1"}
        if model.second is None:
            names = write_protocol_names(self._folder / "names")
            variables["PYTHONPATH"] = os.pathsep.join((str(names), str(servers.ROOT)))
            return {
                "name": _LLM,
                "route_prefix": f"/{_LLM}",
                "import_path": "tests.vllm.scripted_application:build",
                "runtime_env": {"env_vars": variables},
                "args": {"llm_configs": [_scripted_config(model)], "deployment": model.deployment},
            }
        variables["PYTHONPATH"] = str(servers.ROOT)
        return {
            "name": _LLM,
            "route_prefix": f"/{_LLM}",
            "import_path": "ray.serve.llm:build_openai_app",
            "runtime_env": {"py_executable": str(model.second.python), "env_vars": variables},
            "args": {
                "llm_configs": [_vllm_config(model, model.second, variables)],
                "ingress_deployment_config": {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0}},
            },
        }


@contextmanager
def running(model: Model) -> Generator[Bindings]:
    """Run a model on a cluster of its own, with this process as its driver, for as long as the block lasts."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(servers.ray_cluster(folder / "ray", ray_environment()))
        bindings = Bindings(model, cluster, folder)
        print(f"{model.replicas} replica of {model.name} ran after {bindings.deploy():.0f} s", flush=True)
        ray.init(address=cluster.address, namespace="tests", log_to_driver=False)
        stack.callback(ray.shutdown)
        yield bindings


def _way_application(way: Way, model: Model, port: int) -> Mapping[str, Any]:
    engine: dict[str, Any] = {"model": model.name, "context_tokens": CONTEXT_TOKENS}
    if way is Way.HTTP:
        engine |= {"kind": "openai", "base_url": f"http://{servers.LOOPBACK}:{port}/{_LLM}"}
    else:
        engine |= {"kind": "ray-serve-llm", "application": _LLM, "deployment": model.deployment}
    options = {"ray_actor_options": {"num_cpus": 0}, "max_ongoing_requests": 100, "user_config": _user_config(model)}
    return {
        "name": _application_name(way),
        "route_prefix": None,
        "import_path": "deployments.applications:language_model",
        "args": {"engine": engine},
        "deployments": [{"name": "LanguageModel", **options}],
    }


def _application_name(way: Way) -> str:
    return way.name.lower()


def _user_config(model: Model) -> Mapping[str, Any]:
    return {"answering": {"system_prompt": "Be brief.", "max_tokens": model.max_tokens, "temperature": 0.0}}


def _deployment_config(model: Model) -> dict[str, Any]:
    router = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
    return {
        "num_replicas": model.replicas,
        "max_ongoing_requests": 100,
        "health_check_period_s": 2,
        "user_config": _user_config(model),
        "request_router_config": {"request_router_class": router},
        "ray_actor_options": {"num_cpus": 0},
    }


def _scripted_config(model: Model) -> Mapping[str, Any]:
    return {
        "model_loading_config": {"model_id": model.name},
        "accelerator_config": {"kind": "cpu"},
        "deployment_config": _deployment_config(model),
        "experimental_configs": {"stream_batching_interval_ms": 0},
    }


def _vllm_config(model: Model, second: SecondEnvironment, variables: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "model_loading_config": {"model_id": model.name, "model_source": str(second.model)},
        "server_cls": _SERVER,
        "accelerator_config": {"kind": "cpu"},
        "placement_group_config": {"bundles": [{"CPU": 1}]},
        "deployment_config": _deployment_config(model),
        "experimental_configs": {"stream_batching_interval_ms": 0},
        "engine_kwargs": {
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": CONTEXT_TOKENS,
            "max_num_seqs": 32,
            "block_size": BLOCK_TOKENS,
            "enable_prefix_caching": True,
            "enable_prompt_tokens_details": True,
        },
        "runtime_env": {
            # These replace the application's, they are not added to them.
            "env_vars": {
                **variables,
                "RAYLLM_VLLM_ENGINE_CLS": "tests.vllm.timed_vllm.TimedVLLMEngine",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_LEVEL": "WARNING",
            }
        },
    }
