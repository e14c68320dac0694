"""How servers of chat completions are told how much a model is to think.

There is no one field for it:

* `reasoning_effort` is read by OpenAI, vLLM, SGLang, llama.cpp, Ollama (which makes its own `think` of it), LiteLLM and
  OpenRouter. Which values there are depends on the server and on the model: gpt-oss knows no "none"; OpenAI and LiteLLM
  refuse the field for models that do not think.
* `chat_template_kwargs` is handed to the model's template by vLLM, SGLang and llama.cpp. Templates read
  `enable_thinking` (Qwen, GLM, Nemotron), `thinking` (DeepSeek, Granite) or `reasoning_effort` (gpt-oss, Mistral). One
  may refuse a value.
* A budget is `thinking_token_budget` for vLLM, which refuses it where it is not configured for one,
  `thinking_budget_tokens` or `reasoning_budget_tokens` for llama.cpp, `thinking_budget` for Qwen's own service, and
  `reasoning.max_tokens` for OpenRouter.

vLLM, llama.cpp and Ollama ignore fields that they do not know. OpenAI and LiteLLM refuse them.
"""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from deployments.errors import UpstreamFailedError
from deployments.values.language import Generation, ReasoningEffort

T = TypeVar("T")

Fields = Mapping[str, Any]
"""Fields of a request, beside the usual ones."""

_REFUSALS = {400, 422}
_TOLD_REFUSALS = {*_REFUSALS, 403, 500}
"""llama.cpp's server answers 500 where a template raises an error, and inside a stream most failures have no status."""
_ABOUT_FIELDS = re.compile(
    r"reasoning|thinking|\bthink\b|\beffort\b|chat_template|template|jinja|raise_exception|at row \d+", re.IGNORECASE
)
_FIELDS = {"reasoning_effort", "chat_template_kwargs", "thinking_budget", "reasoning"}


class FieldsRefusedError(Exception):
    """A server refuses fields of this module, with a status that says something else by itself.

    Attributes:
        error: What it is for the caller where no other fields are tried.
    """

    def __init__(self, error: UpstreamFailedError) -> None:
        super().__init__()
        self.error = error


def names_fields(status: int, said: str, body: Mapping[str, Any]) -> bool:
    """Say whether a refusal is about fields of this module that a request has, or about its template.

    Args:
        status: Of the refusal; 400 where it is told inside a stream, without one.
        said: Its words.
        body: The request.
    """
    is_sent = not _FIELDS.isdisjoint(body)
    return is_sent and status in _TOLD_REFUSALS and _ABOUT_FIELDS.search(said) is not None


def all_fields(generation: Generation) -> dict[str, Any]:
    """Return the fields that say all there is to say, for a server that ignores what it does not know."""
    return {**_effort_fields(generation.effort, generation.effort), **_budget_fields(generation.thought_tokens)}


def fields_to_try(generation: Generation) -> list[Fields]:
    """Return the fields to send, each to be tried where a server has refused those before it; the last are none."""
    effort = generation.effort
    tries: list[Fields] = [all_fields(generation)]
    if effort is not None:
        tries.append(_effort_fields(effort, effort))
        if effort is ReasoningEffort.NONE:
            # Where a server knows no "none", its template may; where that knows none either, little is next to it.
            tries.append(_effort_fields(effort, ReasoningEffort.LOW))
        tries.append({"reasoning_effort": effort.value})
        if effort is ReasoningEffort.NONE:
            tries.append({"reasoning_effort": ReasoningEffort.LOW.value})
    tries.append({})
    return [fields for index, fields in enumerate(tries) if fields not in tries[:index]]


class AcceptedFields:
    """What one server has been seen to accept: fields that it refuses are tried once, and not sent again."""

    def __init__(self) -> None:
        self._accepted: dict[tuple[ReasoningEffort | None, int | None], Fields] = {}

    async def asked(self, generation: Generation, ask: Callable[[Fields], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """Yield what a server answers to a request with fields that it accepts.

        Args:
            generation: What the fields are to say.
            ask: Sends the request with some fields.

        Raises:
            HearthError: As `ask`. A refusal is raised where the server refuses the request without any such field, too.
        """
        key = (generation.effort, generation.thought_tokens)
        known = self._accepted.get(key)
        *tries, last = fields_to_try(generation) if known is None else [known]
        for fields in tries:
            began = False
            try:
                async with aclosing(ask(fields)) as items:
                    async for item in items:
                        began = True
                        self._accepted[key] = fields
                        yield item
            except FieldsRefusedError:
                continue
            except UpstreamFailedError as error:
                if began or not _is_refusal(error):
                    raise
            else:
                return
        try:
            async with aclosing(ask(last)) as items:
                async for item in items:
                    self._accepted[key] = last
                    yield item
        except FieldsRefusedError as refused:
            raise refused.error from refused


def _is_refusal(error: UpstreamFailedError) -> bool:
    return not error.retryable and error.back_end is not None and error.back_end.status in _REFUSALS


def _effort_fields(effort: ReasoningEffort | None, named: ReasoningEffort | None) -> dict[str, Any]:
    """Return the fields that say an effort.

    Args:
        effort: What a template is told; None where nothing is to be said.
        named: What the server is told.
    """
    if effort is None or named is None:
        return {}
    thinks = effort is not ReasoningEffort.NONE
    told = {"enable_thinking": thinks, "thinking": thinks, "reasoning_effort": named.value}
    return {"reasoning_effort": named.value, "chat_template_kwargs": told}


def _budget_fields(tokens: int | None) -> dict[str, Any]:
    if tokens is None:
        return {}
    return {
        "thinking_token_budget": tokens,
        "thinking_budget_tokens": tokens,
        "reasoning_budget_tokens": tokens,
        "thinking_budget": tokens,
        "reasoning": {"max_tokens": tokens},
    }
