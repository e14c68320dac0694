"""The scripted engine, timed, in place of vLLM: the application that `ray.serve.llm` would build of a configuration.

It is built where the names of vLLM are on the path and vLLM is not installed.
"""

from typing import Any, cast

from ray import serve
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
from ray.llm._internal.serve.core.ingress import ingress
from ray.serve import Application

from deployments.ray_language_model import RayLanguageModel
from tests.integration.llm_server.scripted_engine import ScriptedEngine
from tests.vllm.timed_engine import timed


def build(args: dict[str, Any]) -> Application:
    """Build the server and OpenAI's API in front of it.

    Args:
        args: What `ray.serve.llm:build_openai_app` takes, for one model.
    """
    config = LLMConfig.model_validate(args["llm_configs"][0])
    options = dict(config.deployment_config)
    server = serve.deployment(RayLanguageModel, name=args["deployment"], **options)
    model = server.bind(config, engine_cls=timed(ScriptedEngine))
    # All routes would need a package that reads forms.
    routes = {"chat": ingress.DEFAULT_ENDPOINTS["chat"]}
    api_class = cast("Any", ingress).make_fastapi_ingress(ingress.OpenAiIngress, endpoint_map=routes)
    api = serve.deployment(api_class, name="OpenAiIngress")
    cards = {config.model_id: to_model_metadata(config.model_id, config)}
    return api.options(ray_actor_options={"num_cpus": 0}).bind(
        llm_deployments={config.model_id: model}, model_cards=cards, lora_paths={}
    )
