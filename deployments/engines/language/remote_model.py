"""What all language models have in common that run elsewhere, over HTTP or behind a handle."""

import json
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from deployments.backoff import retry
from deployments.call import Call
from deployments.engines.back_end import BackEndErrors, short_backoff, status_told
from deployments.engines.language.dialect import Refused
from deployments.engines.shapes import ChatEvent, ShapeError, chat_event, estimated_tokens
from deployments.errors import HearthError, InvalidRequestError, Limit, PayloadTooLargeError
from deployments.text.characters import WellFormed
from deployments.text.prompt_markers import usual_markers
from deployments.values.language import FinishReason, Generation, Message, Piece

_REFUSED = 400
"""Stands for the status of a failure that tells none."""


def event_in(data: str, errors: BackEndErrors, refused: Refused) -> ChatEvent:
    """Return what the JSON of one event of a stream of chat completions says; its `error` is None.

    Args:
        data: The JSON.
        errors: Of the server.
        refused: Is told of a failure before it is raised.

    Raises:
        HearthError: The event reports a failure, or is no chat completion.
    """
    try:
        event = chat_event(data)
    except ShapeError as error:
        raise errors.nonsense(str(error)) from error
    if event.error is not None:
        raise failure_of(event.error, errors, refused)
    return event


END_OF_STREAM = ChatEvent(end=FinishReason.STOP)


class HiddenThought:
    """Has an answer that was nothing but thoughts which nobody is shown end with the count of their tokens.

    The count may stand behind the end. Where anything was said, or the count was told, nothing is waited for.
    """

    def __init__(self) -> None:
        self._has_said = False
        self._tokens = 0
        self._end: FinishReason | None = None

    def piece(self, said: ChatEvent) -> Piece:
        """Return what an event says, its end left out while the count may follow."""
        self._has_said = self._has_said or bool(said.text or said.thought)
        self._tokens = said.thought_tokens or self._tokens
        self._end = self._end or said.end
        is_over = self._has_said or self._tokens > 0 or said is END_OF_STREAM
        end = self._end if is_over else None
        return Piece(said.text, said.thought, end, self._tokens if end else 0)

    def last(self) -> Piece | None:
        """Return the end of a stream that stopped behind it; None where it has told none."""
        return Piece(end=self._end, thought_tokens=self._tokens) if self._end else None


class Unrepeated:
    """Leaves out of one stream what tells once more what was told: a whole message behind the parts of it."""

    def __init__(self) -> None:
        self._has_text = False
        self._has_thought = False

    def of(self, said: ChatEvent) -> ChatEvent:
        """Return what an event says that none before it has said."""
        if said.is_whole:
            said = replace(
                said,
                text="" if self._has_text else said.text,
                thought="" if self._has_thought else said.thought,
            )
        self._has_text = self._has_text or bool(said.text)
        self._has_thought = self._has_thought or bool(said.thought)
        return said


def failure_of(told: object, errors: BackEndErrors, refused: Refused) -> HearthError:
    """Return the error of a failure that is told inside a stream, once `refused` was told of it."""
    refused(status_told(told) or _REFUSED, json.dumps(told))
    return errors.failure(told)


async def well_formed_pieces(pieces: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    """Yield an answer with the halves of characters joined that two pieces hold, and others replaced.

    Args:
        pieces: The answer; closed with what this returns.
    """
    text, thought = WellFormed(), WellFormed()
    async with aclosing(pieces):
        async for piece in pieces:
            is_last = piece.end is not None
            whole = piece._replace(
                text=text.take(piece.text, is_last=is_last),
                thought=thought.take(piece.thought, is_last=is_last),
            )
            if whole.text or whole.thought or is_last:
                yield whole


class RemoteChat(Protocol):
    """A way to a language model that runs elsewhere."""

    @property
    def description(self) -> str:
        """The model and where it is, for status and logs."""
        ...

    @property
    def model_name(self) -> str:
        """The model's name, without where it is."""
        ...

    def pieces(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """Yield an answer as it is made, without empty pieces; closing the generator stops the model.

        The last piece, and no other, has an `end`.

        Raises:
            PayloadTooLargeError: The prompt is longer than the model reads.
            HearthError: As `BackEndErrors` says.
        """
        ...

    async def check(self) -> None:
        """Raise `UnavailableError` when the model cannot be asked now."""
        ...

    async def close(self) -> None:
        """Give back what the way holds."""
        ...


class RemoteLanguageModel:
    """A language model that runs elsewhere.

    Args:
        chat: The way to it.
        context_tokens: The model's context window.
    """

    def __init__(self, chat: RemoteChat, *, context_tokens: int) -> None:
        self._chat = chat
        self._context_tokens = context_tokens
        self._tokens_generated = 0

    is_remote = True

    @property
    def description(self) -> str:
        return self._chat.description

    @property
    def model_name(self) -> str:
        return self._chat.model_name

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def tokens_generated(self) -> int:
        return self._tokens_generated

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return an estimate, rather too high than too low."""
        return estimated_tokens(messages)

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        """Return which of some texts are special tokens of many models: the server's vocabulary is not at hand."""
        return usual_markers(texts)

    async def opens_thought(self, generation: Generation) -> None:
        """Return None: the template is not at hand."""
        del generation

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """Yield the answer as it is streamed; tried up to three times until the first token.

        Raises:
            InvalidRequestError: The prompt is longer than the model reads. Hearth has cut it to `context_tokens`, by an
                estimate where the server counts.
            HearthError: As `BackEndErrors` says.
        """

        async def begun() -> tuple[Piece, AsyncGenerator[Piece]]:
            pieces = self._pieces(call, messages, generation)
            return await anext(pieces), pieces

        first, pieces = await retry(begun, short_backoff(), remaining_s=call.remaining)
        async with aclosing(pieces):
            self._tokens_generated += bool(first.text or first.thought)
            yield first
            async for piece in pieces:
                self._tokens_generated += bool(piece.text or piece.thought)
                yield piece

    async def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        """Have the model read a prompt, which a prefix cache then holds, and yield an estimate of its tokens."""
        async with aclosing(self._pieces(call, messages, replace(generation, max_tokens=1))) as pieces:
            async for _piece in pieces:
                pass
        yield estimated_tokens(messages)

    async def check(self) -> None:
        await self._chat.check()

    async def close(self) -> None:
        await self._chat.close()

    async def _pieces(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        try:
            async with aclosing(well_formed_pieces(self._chat.pieces(call, messages, generation))) as pieces:
                async for piece in pieces:
                    yield piece
        except PayloadTooLargeError as error:
            raise too_long(error, self._context_tokens) from error


def too_long(error: PayloadTooLargeError, context_tokens: int) -> InvalidRequestError:
    """Return the error of a prompt that a model server refused for its length, as the client of the question is told.

    Args:
        error: The server's.
        context_tokens: The model's context window.
    """
    return InvalidRequestError(
        "the question is too long for the language model",
        field="message",
        limit=Limit("engine.context_tokens", context_tokens),
        back_end=error.back_end,
    )
