"""A server of `ray.serve.llm` that is Hearth's language model, too: one engine and one cache behind two doors.

OpenAI's API stays as it is. Beside it, in the same replica, stand `generate`, `read`, `profile` and `status`, so that
Hearth calls vLLM by handle with nothing between. Name the class as `server_cls` of an `LLMConfig`;
`deployments/VLLM.md` shows it whole.

Importing this module imports vLLM. Only the replicas of the model do, and what builds its application.
"""

import logging
from collections.abc import Mapping
from typing import Any, cast

from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.llm._internal.serve.core.server.llm_server import LLMServer

from deployments.engines.language.llm_engine import LLMEngine, LLMEngineModel
from deployments.graph.definitions import LANGUAGE_MODEL
from deployments.graph.replica import prepare_replica
from deployments.inference.language_model import LanguageModel
from deployments.settings.text_models import LanguageModelUserConfig

logger = logging.getLogger(__name__)

_WARM_UP_LIMIT_S = 120.0


class RayLanguageModel(LLMServer):
    """Ray's `LLMServer` with the methods of `deployments.services.LanguageModelService`.

    Serve replaces a replica whose engine is dead, as it does for the `LLMServer`. The deployment's `user_config` is
    that of Hearth's own deployment: `LanguageModelUserConfig`.

    Args:
        llm_config: Of the model.
        named: Of the `LLMServer`.
    """

    # Ray's own is a coroutine, which Serve awaits.
    async def __init__(self, llm_config: LLMConfig, **named: Any) -> None:
        prepare_replica(LANGUAGE_MODEL.name)
        await super().__init__(llm_config, **named)
        engine = await LLMEngineModel.of(cast("LLMEngine", self.engine), llm_config.model_id)
        self.service = LanguageModel(engine, LanguageModelUserConfig().answering.to_value())

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take a new `answering` without loading the model again."""
        answering = LanguageModelUserConfig.model_validate(user_config).answering
        self.service.configure(answering.to_value())
        if answering.examples:
            seconds = await self.service.warm(_WARM_UP_LIMIT_S)
            logger.info("prompt prefix read into the cache in %.1f s", seconds)


LANGUAGE_MODEL.add_to(RayLanguageModel)
