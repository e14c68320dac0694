"""Server-sent events, as model servers and the gateways before them really send them."""

import codecs
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import httpx
from httpx_sse import EventSource, ServerSentEvent

_ENCODING = "utf-8-sig"
"""The standard knows UTF-8 only, whatever a header says, and has a mark at the beginning left out."""
_EVENT_STREAM = {"content-type": "text/event-stream"}


async def server_sent_events(
    response: httpx.Response, check_time: Callable[[], None]
) -> AsyncGenerator[ServerSentEvent]:
    """Yield the events of an open response.

    Lines, comments and fields are read as the standard says, by `httpx-sse`: `httpx.Response.aiter_lines` also ends
    lines at U+2028, U+0085 and others, which stand inside the JSON of an event. More lenient than the standard: the
    content type counts for nothing, the last event needs no empty line behind it, and a body that is one JSON, from a
    server that does not stream, is one event.

    Args:
        response: Its body not yet read.
        check_time: Called with each piece of the body, comments too, whose error ends the reading.

    Raises:
        httpx.HTTPError: The body breaks off.
    """
    async with aclosing(_texts(response, check_time)) as texts:
        beginning = ""
        async for text in texts:
            beginning += text
            if beginning.strip():
                break
        if beginning.lstrip().startswith(("{", "[")):
            yield ServerSentEvent(data=beginning + "".join([text async for text in texts]))
            return
        async with aclosing(EventSource(cast("httpx.Response", _Body(beginning, texts))).aiter_sse()) as events:
            async for event in events:
                yield event


class _Body:
    """What `EventSource` reads of a response, its beginning already taken."""

    headers = _EVENT_STREAM

    def __init__(self, beginning: str, rest: AsyncGenerator[str]) -> None:
        self._beginning = beginning
        self._rest = rest

    async def aiter_text(self) -> AsyncGenerator[str]:
        # An empty text would be taken for a line's end.
        if self._beginning:
            yield self._beginning
        async for text in self._rest:
            yield text
        yield "\n\n"


async def _texts(response: httpx.Response, check_time: Callable[[], None]) -> AsyncGenerator[str]:
    decoder = codecs.getincrementaldecoder(_ENCODING)(errors="replace")
    async for piece in response.aiter_bytes():
        check_time()
        if text := decoder.decode(piece):
            yield text
