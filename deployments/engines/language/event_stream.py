"""Server-sent events, as model servers and the gateways before them really send them."""

import codecs
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import httpx
from httpx_sse import EventSource, ServerSentEvent

_ENCODING = "utf-8-sig"
"""The standard knows UTF-8 only, whatever a header says, and has a mark at the beginning left out."""
_EVENT_STREAM = {"content-type": "text/event-stream"}
_ERROR_FIELD = "error:"
_ERROR_LINE = re.compile(rf"(?<=[\r\n]){_ERROR_FIELD}")


async def server_sent_events(
    response: httpx.Response, check_time: Callable[[], None]
) -> AsyncGenerator[ServerSentEvent]:
    """Yield the events of an open response.

    Lines, comments and fields are read as the standard says, by `httpx-sse`: `httpx.Response.aiter_lines` also ends
    lines at U+2028, U+0085 and others, which stand inside the JSON of an event. More lenient than the standard:

    * The content type counts for nothing, and the last event needs no empty line behind it.
    * A body that is one JSON, from a server that does not stream, is one event.
    * A field `error`, which llama.cpp's server has had, is an event of that name.

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
