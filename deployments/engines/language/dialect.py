"""How a server of chat completions wants to be asked, where it does not take what most servers take.

Servers share the API and differ in what they refuse: a field that a model does not have, a role that its chat template
does not know. What a server refuses is left out or written differently, the request is made again at once, and what
then worked is remembered for the requests that follow.
"""

import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from deployments.engines.back_end import is_too_long
from deployments.engines.language.reasoning_fields import FieldsRefusedError, names_fields
from deployments.errors import UpstreamFailedError
from deployments.values.language import Role

T = TypeVar("T")

Body = Mapping[str, Any]
Refused = Callable[[int, str], None]
"""Is told the status and the words of a refusal before it is raised; it raises itself where to ask in another way."""

logger = logging.getLogger(__name__)

_BAD_REQUEST = 400
_UNPROCESSABLE = 422
_NOT_IMPLEMENTED = 501
_SERVER_ERROR = 500
"""What llama.cpp's server and SGLang answer where the template of a model raises an error."""
_ABOUT_REQUESTS = {_BAD_REQUEST, _UNPROCESSABLE, _SERVER_ERROR}

_MESSAGES = "messages"
_MAX_TOKENS = "max_tokens"
_MAX_COMPLETION_TOKENS = "max_completion_tokens"
_STREAM = "stream"
_STOP = "stop"
_MOST_STOPS = 4
"""As many as OpenAI's API takes."""
_OPTIONAL = {"temperature", "stream_options"}
"""Fields that can be left out. Fields for what a server may know beyond most are their sender's to leave out."""

_SAYS = ("message", "msg", "param", "loc", "error", "detail", "errors", "type", "code")
"""Members of an error that say what is wrong with a request; others may repeat the request."""

_RENAMED = re.compile(
    rf"{_MAX_COMPLETION_TOKENS}|not support|unsupported|unrecognized|unknown|unexpected|not permitted|not allowed"
)
_NO_STREAM = re.compile(
    r"['\"`]stream['\"`]|\bstream=|\bstream(?:ing|ed)?\b[^.]*\bnot\b|not support stream|to stream\b"
)
_NO_SYSTEM = re.compile(
    r"system role|role[^.]{0,40}\bsystem\b|\bsystem\b[^.]{0,40}not (?:be )?(?:support|allow)|messages\[0\]\.role"
    r"|roles must alternate|not support[^.]{0,40}\bsystem\b"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one server does not take.

    Attributes:
        left_out: Fields that it is not sent.
        counts_completion: Whether the limit of an answer is called `max_completion_tokens`.
        joins_system: Whether the system prompt stands at the head of the first question.
        stops: How many stop texts it takes; None where that is not known to be limited.
    """

    left_out: frozenset[str] = frozenset()
    counts_completion: bool = False
    joins_system: bool = False
    stops: int | None = None

    def written(self, body: Body) -> dict[str, Any]:
        """Return a request as the server takes it."""
        written = {name: value for name, value in body.items() if name not in self.left_out}
        if self.counts_completion and _MAX_TOKENS in written:
            written[_MAX_COMPLETION_TOKENS] = written.pop(_MAX_TOKENS)
        if self.joins_system:
            written[_MESSAGES] = _joined(written[_MESSAGES])
        if self.stops is not None and _STOP in written:
            written[_STOP] = written[_STOP][: self.stops]
        return {name: value for name, value in written.items() if name != _STOP or value}

    def stops_not_sent(self, body: Body) -> tuple[str, ...]:
        """Return the stop texts of a request that the server does not know of."""
        return () if self.stops is None else tuple(body.get(_STOP, ())[self.stops :])

    def after(self, status: int, said: str, body: Body) -> "Dialect | None":
        """Return the dialect to try next; None where a refusal is not about how the server is asked.

        Args:
            status: Of the refusal.
            said: Its words.
            body: The request, not yet written in this dialect.
        """
        if status == _NOT_IMPLEMENTED and _STREAM not in self.left_out and body.get(_STREAM):
            return replace(self, left_out=self.left_out | {_STREAM})
        if status not in _ABOUT_REQUESTS or is_too_long(status, said):
            return None
        words, sent = " ".join(_words_in(said)).lower(), self.written(body)
        if _NO_SYSTEM.search(words) and _has_system(sent):
            return replace(self, joins_system=True)
        return None if status == _SERVER_ERROR else self._without_what_is_named(words, sent)

    def _without_what_is_named(self, words: str, sent: Body) -> "Dialect | None":
        if _MAX_TOKENS in sent and _names(words, _MAX_TOKENS) and _RENAMED.search(words):
            return replace(self, counts_completion=True)
        if _STOP in sent and _names(words, _STOP):
            return replace(self, stops=_MOST_STOPS if len(sent[_STOP]) > _MOST_STOPS else 0)
        if named := {name for name in sent.keys() & _OPTIONAL if _names(words, name)}:
            return replace(self, left_out=self.left_out | named)
        if sent.get(_STREAM) and _NO_STREAM.search(words):
            return replace(self, left_out=self.left_out | {_STREAM})
        return None

    def last_resort(self, status: int, said: str, body: Body) -> "Dialect | None":
        """Return what may help a server that has never answered and does not say what it refuses; None for nothing."""
        words, sent = " ".join(_words_in(said)).lower(), self.written(body)
        if status not in _ABOUT_REQUESTS or is_too_long(status, said) or any(_names(words, name) for name in sent):
            return None
        return replace(self, joins_system=True) if _has_system(sent) else None


class Accommodation:
    """Asks a server in the dialect that it takes, and learns it from what the server refuses.

    Args:
        server: The server, for logs.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._dialect = Dialect()
        self._has_answered = False

    @property
    def dialect(self) -> Dialect:
        """What was learned so far."""
        return self._dialect

    async def items(self, body: Body, ask: Callable[[Body, Refused], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """Yield what the server answers; asked again, where it refuses, for as long as there is another way to ask.

        Args:
            body: The request as most servers take it.
            ask: Makes a request. It tells `Refused` of a refusal before it raises it.

        Raises:
            FieldsRefusedError: The server refuses what the request says of how much the model is to think.
            HearthError: What `ask` raises.
        """
        dialect = self._dialect
        while True:
            attempt = _Attempt(dialect, body, is_first=not self._has_answered)
            try:
                async with aclosing(ask(dialect.written(body), attempt.refused)) as items:
                    async for item in items:
                        attempt.is_answered = True
                        self._remember(dialect)
                        yield item
            except _AskDifferentlyError as other:
                dialect = other.dialect
            except UpstreamFailedError as error:
                if attempt.is_answered or not attempt.names_fields:
                    raise
                raise FieldsRefusedError(error) from error
            else:
                return

    def _remember(self, dialect: Dialect) -> None:
        self._has_answered = True
        if dialect != self._dialect:
            self._dialect = dialect
            logger.info("the server at %s is asked otherwise from now on: %s", self._server, dialect)


class _AskDifferentlyError(Exception):
    """A server refuses a request that can be made in another way."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self.dialect = dialect


@dataclass(slots=True)
class _Attempt:
    """One way to make a request."""

    dialect: Dialect
    body: Body
    is_first: bool
    is_answered: bool = False
    names_fields: bool = False

    def refused(self, status: int, said: str) -> None:
        """Raise `_AskDifferentlyError` where there is another way."""
        if self.is_answered:
            return
        dialect = self.dialect.after(status, said, self.body)
        if dialect is None and self.is_first:
            dialect = self.dialect.last_resort(status, said, self.body)
        self.names_fields = names_fields(status, said, self.body)
        if dialect is not None:
            raise _AskDifferentlyError(dialect)


def _has_system(body: Body) -> bool:
    messages: list[dict[str, str]] = body[_MESSAGES]
    return bool(messages) and messages[0]["role"] == Role.SYSTEM


def _joined(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return messages whose system prompt stands at the head of the first question."""
    if not messages or messages[0]["role"] != Role.SYSTEM:
        return messages
    system, *others = messages
    if not others:
        return [{"role": Role.USER.value, "content": system["content"]}]
    question, *following = others
    return [{**question, "content": f"{system['content']}\n\n{question['content']}"}, *following]


def _names(words: str, field: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(field)}(?!\w)", words) is not None


def _words_in(said: str) -> Iterator[str]:
    """Yield what an error says of a request, without what it repeats of it."""
    try:
        error: object = json.loads(said)
    except ValueError:
        yield said
        return
    yield from _strings_in(error)


def _strings_in(error: object) -> Iterator[str]:
    match error:
        case str():
            yield error
        case list():
            for part in cast("Iterable[object]", error):
                yield from _strings_in(part)
        case dict():
            for name, part in cast("Mapping[str, object]", error).items():
                if name in _SAYS:
                    yield from _strings_in(part)
        case _:
            return
