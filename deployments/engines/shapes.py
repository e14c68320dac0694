"""The shapes of requests and answers that model servers share: OpenAI's, and that of the rerank API.

The engines that speak HTTP use them, and so do the adapters of deployments that take the same shapes by handle.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

import numpy as np

from deployments.text.characters import well_formed
from deployments.values.language import FinishReason, Generation, Message
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors, unit_length

DONE = "[DONE]"
"""What the last event of a stream of chat completions holds."""

_TEXT = "text"
_ERROR = "error"
_UNTOLD = {"", "null", "none", "unspecified", "finish_reason_unspecified"}
_GIVEN_UP = {
    *("error", "abort", "aborted", "cancelled", "canceled", "failed", "internal_error", "server_error", "timeout"),
    *("overloaded", "engine_overloaded", "insufficient_system_resource", "repetition_truncation"),
}
_CUT = {
    *("length", "max_tokens", "max_length", "max_output_tokens", "model_length"),
    *("model_context_window_exceeded", "context_length_exceeded"),
}
_FILTERED = {"content_filter", "safety", "refusal", "recitation", "prohibited_content"}
"""Finish reasons, in small letters: OpenAI's `length` and `content_filter`, and what gateways pass on of Anthropic,
Google, Mistral, DeepSeek and text-generation-inference. All others, such as `tool_calls` and `eos_token`, are a good
end."""
_TEXTS_OF_PARTS = {_TEXT: _TEXT, "output_text": _TEXT, "refusal": "refusal"}
"""Where parts of a content that are shown have their text, by their type."""
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields for what a model thinks: DeepSeek's, which llama.cpp and SGLang took, vLLM's and OpenRouter's, Ollama's."""
_SAID_BY_FRAMEWORKS = ("detail", "message", "Message", "msg", "errors")
_SAID_BY_GATEWAYS = ("fault", "error_code", "error_msg")
"""Apigee's, and those of Baidu's service."""

_BYTES_PER_TOKEN = 3
"""A careful guess, short of the four or so of English text, where the model's vocabulary is not at hand."""


class ShapeError(ValueError):
    """An answer has not the shape that was expected; the text says what it is, such as "2 results for 3 passages"."""


class FailureToldError(ShapeError):
    """An answer tells a failure.

    Attributes:
        told: What it says of it, as `BackEndErrors.failure` takes it.
    """

    def __init__(self, told: object) -> None:
        super().__init__("an error in place of an answer")
        self.told = told


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """One event of a stream of chat completions.

    Attributes:
        text: What the answer goes on with; empty for an event that carries none.
        thought: What the model goes on to think; empty for an event that carries nothing of that.
        error: What the server says of a failure; None where it has not failed.
        end: Why nothing follows this text; None where something may.
        is_whole: Whether text and thought are those of the whole answer, and not what it goes on with.
        thought_tokens: How many tokens of thought the answer took so far, shown or not; 0 where that is not told.
    """

    text: str = ""
    thought: str = ""
    error: object = None
    end: FinishReason | None = None
    is_whole: bool = False
    thought_tokens: int = 0


def batches(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    """Return texts in pieces of at most `size`, in order."""
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Return an estimate of the tokens of a prompt, rather too high than too low."""
    return sum(len(message.content.encode()) // _BYTES_PER_TOKEN + 8 for message in messages)


def chat_request(model: str, messages: Sequence[Message], generation: Generation) -> dict[str, Any]:
    """Return the body of a request for a chat completion, without `stream`."""
    body: dict[str, Any] = {
        "messages": [{"role": message.role.value, "content": message.content} for message in messages],
        "max_tokens": generation.max_tokens,
        "temperature": generation.temperature,
    }
    if model:
        body["model"] = model
    if generation.stop:
        body["stop"] = list(generation.stop)
    return body


def chat_event(data: str | bytes | Mapping[str, Any]) -> ChatEvent:
    """Read one event of a stream of chat completions, or a whole completion: its JSON, or what was read from it.

    Raises:
        ShapeError: It is no such thing.
    """
    try:
        event: dict[str, Any] = cast("Any", json.loads(data) if isinstance(data, str | bytes) else data) or {}
        choice: dict[str, Any] = (event.get("choices") or [None])[0] or {}
        error = _failure_of(event, choice)
        if error is not None:
            return ChatEvent(error=error)
        delta: dict[str, Any] = choice.get("delta") or {}
        message: dict[str, Any] = choice.get("message") or {}
        said = delta or message
        text, thought = _text_of(said.get("content")) or _text_of(said.get("refusal")), _thought_of(said)
        thought_tokens = _thought_tokens(event)
        end = _finish_reason(choice.get("finish_reason"))
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise ShapeError("something that is not a chat completion") from error
    is_whole = bool(message) and not delta
    return ChatEvent(
        text,
        thought,
        end=end or (FinishReason.STOP if is_whole else None),
        is_whole=is_whole,
        thought_tokens=thought_tokens,
    )


def _finish_reason(told: str | None) -> FinishReason | None:
    """Return what a finish reason means; None where none is told yet."""
    reason = (told or "").lower()
    if reason in _UNTOLD:
        return None
    if reason in _CUT:
        return FinishReason.TOKEN_LIMIT
    return FinishReason.CONTENT_FILTER if reason in _FILTERED else FinishReason.STOP


def _failure_of(event: Mapping[str, Any], choice: Mapping[str, Any]) -> object:
    """Return what an event says of a failure, in any of the shapes that servers and gateways give it; else None.

    OpenAI's `error`, as an object or a text; the same inside a choice, as OpenRouter has it, or inside its delta; a
    finish reason of an answer that the engine gave up, as SGLang has it; `object: error`, as older vLLM has it;
    `success: false`; a status other than 0 in MiniMax's `base_resp`; and what web frameworks make of an exception. A
    server may have an `error` of null, or an empty one, in every event: that is none.
    """
    delta: Mapping[str, object] = choice.get("delta") or {}
    if told := event.get("error") or choice.get("error") or delta.get("error"):
        return told
    if (choice.get("finish_reason") or "").lower() in _GIVEN_UP or _ERROR in (event.get("object"), event.get("type")):
        return choice or event
    response: Mapping[str, object] = event.get("base_resp") or {}
    if response.get("status_code"):
        return response
    if event.get("success") is False or any(event.get(name) for name in _SAID_BY_GATEWAYS):
        return event
    said = any(event.get(name) and isinstance(event[name], str | list) for name in _SAID_BY_FRAMEWORKS)
    return event if said and not choice else None


def _thought_tokens(event: Mapping[str, Any]) -> int:
    """Return the tokens of thought that an event's usage tells."""
    usage: Mapping[str, Any] = event.get("usage") or {}
    details: Mapping[str, Any] = usage.get("completion_tokens_details") or {}
    return int(details.get("reasoning_tokens") or 0)


def _text_of(content: Any) -> str:
    """Return the text of a message's content: a text, nothing, or parts, of which those that hold thoughts are none."""
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[Any] = content
    return "".join(part.get(_TEXTS_OF_PARTS.get(part.get("type", _TEXT))) or "" for part in parts)


def _thought_of(said: Mapping[str, Any]) -> str:
    """Return what a message tells of what its model thinks, in a field of its own or in parts of its content."""
    for name in _THOUGHTS:
        if isinstance(told := said.get(name), str) and told:
            return told
    content = said.get("content")
    parts: list[Any] = cast("list[Any]", content) if isinstance(content, list) else []
    return "".join(_text_in(part.get("thinking") or part.get("reasoning")) for part in parts)


def _text_in(told: Any) -> str:
    """Return the text of a part that holds a thought: a text or, as Mistral has it, parts again."""
    return told if isinstance(told, str) else _text_of(told)


def embeddings_of(answer: Any, expected: int) -> Vectors:
    """Read the vectors out of an answer of the embeddings API, in the order of `index`.

    Args:
        answer: With `data`, a list of entries that have `index` and `embedding`.
        expected: How many there must be.

    Returns:
        Vectors of length 1, of shape (expected, dimensions).

    Raises:
        ShapeError: It is no such answer, or has another number of vectors.
    """
    try:
        entries = sorted(answer["data"], key=lambda entry: entry["index"])
        indices = [entry["index"] for entry in entries]
        vectors = np.array([entry["embedding"] for entry in entries], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ShapeError("something that is not a list of embeddings") from error
    if indices != list(range(expected)):
        raise ShapeError(f"{len(indices)} embeddings for {expected} texts")
    return vectors_of(vectors, expected)


def vectors_of(rows: Any, expected: int) -> Vectors:
    """Return rows of numbers as vectors of length 1, of shape (expected, dimensions).

    Raises:
        ShapeError: They are no such rows.
    """
    try:
        vectors = np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise ShapeError("something that is not a list of embeddings") from error
    if vectors.ndim != 2 or len(vectors) != expected or not vectors.shape[1]:  # noqa: PLR2004 - rows and columns
        raise ShapeError(f"embeddings of shape {vectors.shape} for {expected} texts")
    if not np.isfinite(vectors).all():
        raise ShapeError("embeddings that are not finite numbers")
    return unit_length(vectors)


def joined(parts: Sequence[Vectors]) -> Vectors:
    """Return the vectors of several answers as one array; of no answers, an array without rows.

    Raises:
        ShapeError: They differ in their dimensions.
    """
    if not parts:
        return np.empty((0, 0), np.float32)
    sizes = {part.shape[1] for part in parts}
    if len(sizes) > 1:
        raise ShapeError(f"embeddings of {' and '.join(map(str, sorted(sizes)))} dimensions")
    return np.concatenate(parts)


def scores_of(scores: Any, expected: int) -> list[float]:
    """Read scores, one for each of `expected` passages.

    Raises:
        ShapeError: They are no such numbers.
    """
    if isinstance(scores, str | bytes | Mapping):
        raise ShapeError("something that is not a list of scores")
    try:
        read = [float(score) for score in scores]
    except (TypeError, ValueError) as error:
        raise ShapeError("something that is not a list of scores") from error
    if len(read) != expected:
        raise ShapeError(f"{len(read)} scores for {expected} passages")
    if not all(map(isfinite, read)):
        raise ShapeError("scores that are not finite numbers")
    return read


def rankings_of(answer: Any, expected: int) -> list[Ranking]:
    """Read rankings, best first.

    Args:
        answer: Entries with `index` and `relevance_score` or `score`, in any order: a list, or under `results`.
        expected: How many there must be.

    Raises:
        ShapeError: They are no such entries, or not one for each passage.
    """
    try:
        results = cast("list[Any]", answer["results"] if isinstance(answer, Mapping) else answer)
        rankings = [
            Ranking(int(result["index"]), float(result.get("relevance_score", result.get("score"))))
            for result in results
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ShapeError("something that is not a list of results") from error
    if sorted(ranking.index for ranking in rankings) != list(range(expected)):
        raise ShapeError(f"{len(rankings)} results for {expected} passages")
    if not all(isfinite(ranking.score) for ranking in rankings):
        raise ShapeError("scores that are not finite numbers")
    return best_first(rankings)


def best_first(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Return rankings by their score, the highest first."""
    return sorted(rankings, key=lambda ranking: -ranking.score)


def transcript_of(answer: Any) -> str:
    """Read the words out of an answer of the transcription API.

    Raises:
        ShapeError: It has no `text`.
    """
    try:
        text = answer["text"]
    except (KeyError, TypeError) as error:
        raise ShapeError("something that is not a transcript") from error
    if not isinstance(text, str):
        raise ShapeError("a transcript that is not a text")
    return well_formed(text).strip()
