"""The scripted engine, timed, in place of vLLM; Hearth's server runs it.

It is built where the names of vLLM are on the path and vLLM is not installed. OpenAI's API is left out: Ray's own has
no routes with the FastAPI of Hearth's environment.
"""

from typing import Any

from ray import serve
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.serve import Application

from deployments.ray_language_model import RayLanguageModel
from tests.integration.llm_server.scripted_engine import ScriptedEngine
from tests.vllm.timed_engine import timed


class TimedScriptedEngine(timed(ScriptedEngine)):
    """Tells of every chat how long its prompt was."""

    def prepare(self, request: Any, chat: dict[str, Any]) -> None:
        request.stream_options = {"include_usage": True}


def build(args: dict[str, Any]) -> Application:
    """Build the server.

    Args:
        args: What `ray.serve.llm:build_openai_app` takes, for one model, and the name of the `deployment`.
    """
    config = LLMConfig.model_validate(args["llm_configs"][0])
    options = dict(config.deployment_config)
    server: Any = serve.deployment(RayLanguageModel, name=args["deployment"], **options)
    return server.bind(config, engine_cls=TimedScriptedEngine)
