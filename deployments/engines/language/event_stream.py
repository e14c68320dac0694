"""Server-sent events, as model servers and the gateways before them really send them."""

import codecs
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import cast

import httpx
from httpx_sse import EventSource, ServerSentEvent

_ENCODING = "utf-8-sig"
"""The standard knows UTF-8 only, whatever a header says, and has a mark at the beginning left out."""
_EVENT_STREAM = {"content-type": "text/event-stream"}
_JSON = ("{", "[")
_COMMENTS = re.compile(r"(?:\s|:[^\r\n]*(?:[\r\n]|$))*")
_FIELD = re.compile(r"(?:data|event|id|retry|error)[ \t]*(?::|[\r\n]|$)")
_LINE_OF_EVENT = re.compile(r"[\r\n]+(?=(?:data|event|id|retry)?:)")
_ERROR_FIELD = "error:"
_ERROR_LINE = re.compile(rf"(?<=[\r\n]){_ERROR_FIELD}")


class NoEventsError(ValueError):
    """A body is neither a stream of events nor JSON; the text says what it is, such as "a web page"."""


async def server_sent_events(
    response: httpx.Response, check_time: Callable[[], None]
) -> AsyncGenerator[ServerSentEvent]:
    """Yield the events of an open response.

    Lines, comments and fields are read as the standard says, by `httpx-sse`: `httpx.Response.aiter_lines` also ends
    lines at U+2028, U+0085 and others, which stand inside the JSON of an event. More lenient than the standard:

    * The content type counts for nothing, and the last event needs no empty line behind it.
    * A body that is one JSON, from a server that does not stream, is one event, also behind comments and before others.
    * A field `error`, which llama.cpp's server has had, is an event of that name.

    Args:
        response: Its body not yet read.
        check_time: Called with each piece of the body, comments too, whose error ends the reading.

    Raises:
        NoEventsError: The body is something else.
        httpx.HTTPError: The body breaks off.
    """
    async with aclosing(_texts(response, check_time)) as texts:
        beginning = ""
        async for text in texts:
            beginning += text
            if _without_comments(beginning):
                break
        begun = _without_comments(beginning)
        if begun.startswith(_JSON):
            for event in events_in(begun + "".join([text async for text in texts])):
                yield event
            return
        has_events = False
        async with aclosing(EventSource(cast("httpx.Response", _Body(beginning, texts))).aiter_sse()) as events:
            async for event in events:
                has_events = True
                yield event
        if begun and not has_events and not _FIELD.match(begun):
            raise NoEventsError("a web page" if begun.startswith("<") else "a text that is no answer")


def events_in(text: str) -> list[ServerSentEvent]:
    """Return the events in a text that holds whole ones, read as those of a response are."""
    text = _without_comments(text)
    if text.startswith(_JSON):
        answer, *rest = _LINE_OF_EVENT.split(text, maxsplit=1)
        return [ServerSentEvent(data=answer), *(event for part in rest for event in events_in(part))]
    events = EventSource(cast("httpx.Response", _Text(text))).iter_sse()
    # By the standard an event without data is none.
    return [event for event in events if event.data]


def _without_comments(text: str) -> str:
    """Return a text from where there is more than space and comments."""
    found = _COMMENTS.match(text)
    return text[found.end() :] if found else text


class _Text:
    """What `EventSource` reads of a response, all of it there."""

    headers = _EVENT_STREAM

    def __init__(self, text: str) -> None:
        self._text = text

    def iter_text(self) -> Iterator[str]:
        lines = _ErrorLines()
        yield lines.told(self._text)
        yield lines.told("\n\n")


class _Body:
    """What `EventSource` reads of a response, its beginning already taken."""

    headers = _EVENT_STREAM

    def __init__(self, beginning: str, rest: AsyncGenerator[str]) -> None:
        self._beginning = beginning
        self._rest = rest

    async def aiter_text(self) -> AsyncGenerator[str]:
        lines = _ErrorLines()
        # An empty text would be taken for a line's end.
        if text := lines.told(self._beginning):
            yield text
        async for piece in self._rest:
            if text := lines.told(piece):
                yield text
        yield lines.told("\n\n")


class _ErrorLines:
    """Writes fields `error` of a stream as events of that name."""

    def __init__(self) -> None:
        self._before: str = "\n"
        self._held: str = ""

    def told(self, text: str) -> str:
        """Return the next piece of a stream, without an end that may become such a field."""
        text = self._before + self._held + text
        line = text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]
        self._held = line if _ERROR_FIELD.startswith(line) and line != _ERROR_FIELD else ""
        text = text[: len(text) - len(self._held)]
        self._before = text[-1]
        return _ERROR_LINE.sub("event: error\ndata:", text)[1:]


async def _texts(response: httpx.Response, check_time: Callable[[], None]) -> AsyncGenerator[str]:
    decoder = codecs.getincrementaldecoder(_ENCODING)(errors="replace")
    async for piece in response.aiter_bytes():
        check_time()
        if text := decoder.decode(piece):
            yield text
