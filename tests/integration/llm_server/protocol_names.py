"""A package `vllm` with the names alone that Ray's `LLMServer` imports: its real requests and answers, without vLLM.

The names are those of `ray/llm/_internal/serve/core/configs/openai_api_models.py` in Ray 2.60, and the classes that
vLLM 0.29 nests in its answers. The fields are the few that Hearth sends or reads. It lies on the path of the
deployments' replicas only.
"""

from pathlib import Path

_HEAD = """from typing import Any
import uuid
from pydantic import BaseModel, ConfigDict, Field

class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

class Request(Open):
    model: str | None = None
    request_id: str = Field(default_factory=lambda: uuid.uuid4().hex)

"""
_MODULES = {
    "entrypoints.openai.chat_completion.protocol": """
class ChatCompletionRequest(Request):
    messages: list[dict[str, Any]]
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = Field(default=None, ge=0)

class ChatCompletionResponse(Open): ...
class ChatCompletionStreamResponse(Open): ...
""",
    "entrypoints.openai.completion.protocol": """
class CompletionRequest(Request): ...
class CompletionResponse(Open): ...
class CompletionStreamResponse(Open): ...
""",
    "entrypoints.pooling.embed.protocol": """
class EmbeddingChatRequest(Request):
    messages: list[dict[str, Any]]

class EmbeddingCompletionRequest(Request):
    input: list[str]
    truncate_prompt_tokens: int | None = None

class EmbeddingResponseData(Open):
    index: int
    embedding: list[float]

class UsageInfo(Open):
    prompt_tokens: int = 0

class EmbeddingResponse(Open):
    data: list[EmbeddingResponseData]
    usage: UsageInfo = UsageInfo()
""",
    "entrypoints.pooling.scoring.protocol": """
class ScoreTextRequest(Request):
    text_1: str
    text_2: list[str]
    truncate_prompt_tokens: int | None = None

class ScoreResponseData(Open):
    index: int
    score: float

class ScoreResponse(Open):
    data: list[ScoreResponseData]
""",
    "entrypoints.serve.engine.protocol": """
class ErrorInfo(Open):
    message: str
    type: str
    param: str | None = None
    code: int

class ErrorResponse(Open):
    error: ErrorInfo
""",
    "entrypoints.serve.tokenize.protocol": """
class DetokenizeRequest(Request): ...
class DetokenizeResponse(Open): ...
class TokenizeChatRequest(Request): ...
class TokenizeCompletionRequest(Request): ...
class TokenizeResponse(Open): ...
""",
    "entrypoints.speech_to_text.transcription.protocol": """
class TranscriptionRequest(Request):
    file: Any
    language: str | None = None
    response_format: str = "json"
    temperature: float = 0.0
    stream: bool = False

class TranscriptionResponse(Open):
    text: str

class TranscriptionStreamResponse(Open): ...
""",
    "v1.engine.exceptions": """
class EngineDeadError(Exception): ...
""",
}


def write_protocol_names(folder: Path) -> Path:
    """Write the package into a folder; return the folder, for a PYTHONPATH."""
    for name, classes in _MODULES.items():
        file = folder.joinpath("vllm", *name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_HEAD + classes)
        for parent in file.relative_to(folder).parents[:-1]:
            (folder / parent / "__init__.py").touch()
    return folder
