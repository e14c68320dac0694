"""`python -m tests.integration.llm_server.deploy ADDRESS NAMES`: deploy Ray's `LLMServer` over the scripted engine.

It is a process of its own, as its owner's would be: building the deployment needs the names of vLLM, which the tests'
own process, and Hearth's replicas, do without.

Args:
    ADDRESS: Of the Ray cluster.
    NAMES: The folder with the package `vllm`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve

APPLICATION = "llm"
SPREAD_APPLICATION = "llm-spread"
ROUTED_APPLICATION = "routed"
"""Its request router can be imported only where its owner deployed it, like those of `ray.serve.llm` without vLLM."""
ROUTER = "OwnersRouter"
DEPLOYMENT = "LLMServer:org--scripted_v1"
"""As `ray.serve.llm` would call the deployment of this model."""
OWN_APPLICATION = "llm-own"
OWN_DEPLOYMENT = "RayLanguageModel:org--scripted_v1"
"""The same where Hearth's own server takes the place of Ray's."""


class Idle:
    """Does nothing; nobody calls it."""


# The names of vLLM are on the path only then.
# ruff: noqa: PLC0415


def main(address: str, names: str) -> None:
    sys.path.insert(0, names)
    from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
    from ray.llm._internal.serve.core.server.builder import _get_deployment_name
    from ray.llm._internal.serve.core.server.llm_server import LLMServer

    from deployments.ray_language_model import RayLanguageModel
    from tests.integration.llm_server.scripted_engine import MODEL, ScriptedEngine

    ray.init(address=address, namespace="tests", log_to_driver=False)
    path = os.pathsep.join((names, os.environ["PYTHONPATH"]))
    cpu: Any = {"kind": "cpu"}
    config = LLMConfig(
        model_loading_config={"model_id": MODEL},
        accelerator_config=cpu,
        experimental_configs={"stream_batching_interval_ms": 20},
    )
    assert f"LLMServer:{_get_deployment_name(config)}" == DEPLOYMENT
    assert f"{RayLanguageModel.__name__}:{_get_deployment_name(config)}" == OWN_DEPLOYMENT

    def deployment(replicas: int, name: str = DEPLOYMENT, server: type = LLMServer, **more: Any) -> Any:
        options = {"num_cpus": 0, "runtime_env": {"env_vars": {"PYTHONPATH": path}}}
        bare: Any = serve.deployment(
            server,
            name=name,
            num_replicas=replicas,
            max_ongoing_requests=100,
            health_check_period_s=1,
            ray_actor_options=options,
            **more,
        )
        return bare.bind(config, engine_cls=ScriptedEngine)

    serve.run(deployment(1), name=APPLICATION, route_prefix=None)
    router = {"request_router_class": "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"}
    serve.run(deployment(2, request_router_config=router), name=SPREAD_APPLICATION, route_prefix=None)
    Path(names, f"{ROUTER}.py").write_text(f"from ray.serve.request_router import RequestRouter as {ROUTER}\n")
    router = {"request_router_class": f"{ROUTER}.{ROUTER}"}
    idle: Any = serve.deployment(Idle, ray_actor_options={"num_cpus": 0}, request_router_config=router)
    serve.run(idle.bind(), name=ROUTED_APPLICATION, route_prefix=None)
    user_config = {"answering": {"system_prompt": "Be brief.", "max_tokens": 500}}
    own = deployment(1, OWN_DEPLOYMENT, RayLanguageModel, user_config=user_config)
    serve.run(own, name=OWN_APPLICATION, route_prefix=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
