"""Graphs whose models are stand-ins, on one cluster: what Serve is told of them, and where they are.

Each graph has an account of its own on one NATS server, so that none hears the requests of another one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

ZERO_COST_MODELS = "tests.benchmarks.zero_cost_models"
ZERO_COST_GRAPH = "tests.benchmarks.zero_cost_graph"
TIMED_MODELS = "tests.benchmarks.timed_models"
ORCHESTRATION = "bridges.application:orchestration"
MAX_IN_FLIGHT = 8
"""Requests that each graph of zero cost works on at once: what `serve_config.yaml` has."""
LOAD_POLICY = "deployments.graph.load_policy:LoadPolicy"
SCALED_MOST = 3
"""Replicas of each deployment, at most, where their number follows the load."""
SCALED_PLACES = 4
"""Requests that each of these replicas works on at once."""
ZERO_COST_SERVICES = ("Chat", "Retrieval", "Ingestion")
LIVE_SERVICES = (*ZERO_COST_SERVICES, "Voice", "Transcription", "Speech")

Config = Mapping[str, Any]


class Side(StrEnum):
    """What answers on an account of the NATS server, which has its name.

    * REPLACED: the design that Hearth replaces, a process of its own; only the account is made here.
    * APART: Hearth with models that cost nothing, its services apart.
    * TOGETHER: the same with the services in the ingress's replica.
    * LIVE: Hearth with models that take the time that they are told to, and all services in the ingresses' replicas.
    * LIVE_APART: the same, Transcription and Speech apart.
    * SCALED: Hearth with a model that costs nothing and has few places; ingress, Chat and model have as many replicas
      as the load needs.
    * FIXED: the same with as many replicas as there may be, all the time.
    """

    REPLACED = "replaced"
    APART = "apart"
    TOGETHER = "together"
    LIVE = "live"
    LIVE_APART = "live-apart"
    SCALED = "scaled"
    FIXED = "fixed"


_ZERO_COST_SIDES = {Side.REPLACED, Side.APART, Side.TOGETHER}
_LIVE_SIDES = {Side.LIVE: LIVE_SERVICES, Side.LIVE_APART: LIVE_SERVICES[:4]}


@dataclass(frozen=True, slots=True)
class StandInGraph:
    """Where the graphs are.

    Attributes:
        nats_port: Of the NATS server.
        http_url: Of Serve's proxy: the models, each below the name of its application.
        dashboard_url: Where Serve is told what to run.
        sides: Those that it was told to run.
    """

    nats_port: int
    http_url: str
    dashboard_url: str
    sides: frozenset[Side]

    def nats_url(self, side: Side) -> str:
        """Return where the clients of one side connect."""
        return f"nats://{side}:{side}@127.0.0.1:{self.nats_port}"


def nats_accounts() -> str:
    """Return the configuration of the NATS server."""
    accounts = "\n".join(f"  {side}: {{ users: [ {{ user: {side}, password: {side} }} ] }}" for side in Side)
    return f"accounts {{\n{accounts}\n}}\n"


def nats_accounts_with_streams(folder: Path) -> str:
    """Return the same where each account may keep streams in a folder."""
    accounts = nats_accounts().replace(": { users", ": { jetstream: enabled, users")
    return f'jetstream {{ store_dir: "{folder}" }}\n{accounts}'


def serve_config(graph: StandInGraph) -> Config:
    """Return what Serve is told."""
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": int(graph.http_url.rsplit(":", 1)[1])},
        "logging_config": {"log_level": "INFO", "enable_access_log": False},
        "applications": list(_applications(graph, graph.sides)),
    }


def _applications(graph: StandInGraph, sides: Collection[Side]) -> Iterator[Config]:
    if not _ZERO_COST_SIDES.isdisjoint(sides):
        yield _application(
            "language-model", f"{ZERO_COST_MODELS}:language_model", ["LanguageModel"], route="/language-model"
        )
        yield _application("embeddings", f"{ZERO_COST_MODELS}:embeddings", ["Embeddings"], route="/embeddings")
        yield _application("reranker", f"{ZERO_COST_MODELS}:reranker", ["Reranker"], route="/reranker")
    for side, in_process in ((Side.APART, ()), (Side.TOGETHER, ZERO_COST_SERVICES)):
        if side in sides:
            nats = {"url": graph.nats_url(side), "max_in_flight": MAX_IN_FLIGHT}
            args = {"nats": nats, "memory": {"enabled": False}, "in_process": list(in_process)}
            apart = [name for name in ZERO_COST_SERVICES if name not in in_process]
            yield _application(side, f"{ZERO_COST_GRAPH}:orchestration", ["NatsIngress", *apart], args)
    if Side.APART in sides:
        args = {"application": Side.APART}
        yield _application("leaver", f"{ZERO_COST_GRAPH}:leaver", ["Leaver"], args, route="/leaver")
    if not _LIVE_SIDES.keys().isdisjoint(sides):
        deployments = ["LanguageModel", "SpeechToText", "TextToSpeech"]
        yield _application("timed-models", f"{TIMED_MODELS}:models", deployments, route="/timed-models")
    for side, in_process in _LIVE_SIDES.items():
        if side in sides:
            args = {
                "nats": {"url": graph.nats_url(side), "max_in_flight": 128},
                "memory": {"enabled": False},
                **dict.fromkeys(("language_model", "speech_to_text", "text_to_speech"), "timed-models"),
                "in_process": list(in_process),
            }
            apart = [name for name in LIVE_SERVICES if name not in in_process]
            ingresses: Sequence[str] = ("NatsIngress", "AudioIngress")
            yield _application(side, ORCHESTRATION, [*ingresses, *apart], args)
    for side in (Side.SCALED, Side.FIXED):
        if side in sides:
            yield from _scaled(graph.nats_url(side), side)


def _scaled(nats_url: str, side: Side) -> Iterator[Config]:
    """Return the applications of a side with many replicas."""
    model = f"{side}-model"
    scaling = {
        "min_replicas": 1,
        "max_replicas": SCALED_MOST,
        "target_ongoing_requests": SCALED_PLACES,
        # Seconds, where an installation would take a minute.
        "metrics_interval_s": 0.5,
        "look_back_period_s": 1.0,
        "upscale_delay_s": 1.0,
        "downscale_delay_s": 10.0,
    }
    replicas = {"autoscaling_config": scaling} if side is Side.SCALED else {"num_replicas": SCALED_MOST}
    # A replica that goes has answered what it had by then.
    replicas |= {"graceful_shutdown_wait_loop_s": 0.2, "graceful_shutdown_timeout_s": 30}
    policy = {"autoscaling_policy": {"policy_function": LOAD_POLICY}}
    places = {"max_ongoing_requests": SCALED_PLACES}
    yield _application(model, f"{ZERO_COST_MODELS}:language_model", ["LanguageModel"], more=replicas | places) | policy
    args = {
        "nats": {
            "url": nats_url,
            "max_in_flight": SCALED_PLACES,
            "max_wait_s": 60,
            # A user of these is a load.
            "user_share": 1.0,
        },
        "scaling": {"waiting_per_replica": SCALED_PLACES},
        "memory": {"enabled": False},
        "audio": {"enabled": False},
        "language_model": model,
        "in_process": ["Retrieval", "Ingestion"],
    }
    yield _application(side, ORCHESTRATION, ["NatsIngress", "Chat"], args, more=replicas) | policy


def _application(
    name: str,
    import_path: str,
    deployments: Iterable[str],
    args: Mapping[str, Any] | None = None,
    route: str = "",
    more: Config | None = None,
) -> dict[str, Any]:
    common = {"ray_actor_options": {"num_cpus": 0}, "max_ongoing_requests": 1000, "health_check_period_s": 1}
    common |= more or {}
    return {
        "name": name,
        "route_prefix": route or None,
        "import_path": import_path,
        "args": dict(args or {}),
        "deployments": [{"name": deployment, **common} for deployment in deployments],
    }
