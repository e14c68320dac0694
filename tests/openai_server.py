"""A model server that speaks the OpenAI chat completions API, and fails when it is told to."""

import json
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers import http_server

TOKENS = (" one", " two", " three", " four", " five")
SLOW_TOKEN_S = 0.05


@dataclass
class OpenAIServer:
    """What the server did.

    Attributes:
        url: Where it listens.
        asked: The last message of each completion that was asked for.
        left: Completions whose client closed the connection before their end.
        may_end: Lets the answers end that were held.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    left: int = 0
    may_end: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    """Does what the question says: "[fail]", "[break]", "[silent]", "[held]", "[slow N]", "[long N]"; else answers."""

    protocol_version = "HTTP/1.1"
    state: OpenAIServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text: str = body["messages"][-1]["content"]
        self.state.asked.append(text)
        if "[fail]" in text:
            self.send_error(400, "the model refuses")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self._stream(text)
        except (BrokenPipeError, ConnectionResetError):
            self.state.left += 1

    def _stream(self, text: str) -> None:
        if "[silent]" in text:
            self._until_left()
            return
        if found := re.search(r"\[long (\d+)\]", text):
            for _ in range(int(found[1])):
                self._token(" word" * 100)
        elif found := re.search(r"\[slow (\d+)\]", text):
            for number in range(int(found[1])):
                self._token(f" {number}")
                time.sleep(SLOW_TOKEN_S)
        elif "[held]" in text:
            self._token(TOKENS[0])
            self.state.may_end.wait()
            for token in TOKENS[1:]:
                self._token(token)
        else:
            for token in TOKENS[:3] if "[break]" in text else TOKENS:
                self._token(token)
        if "[break]" not in text:
            self._send("[DONE]")

    def _until_left(self) -> None:
        """Say nothing until the client has left: comments of the event stream are all it gets."""
        while True:
            self.wfile.write(b": still here\n\n")
            self.wfile.flush()
            time.sleep(SLOW_TOKEN_S)

    def _token(self, text: str) -> None:
        piece: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        self._send(json.dumps({"object": "chat.completion.chunk", "choices": [piece]}))

    def _send(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@contextmanager
def openai_server() -> Generator[OpenAIServer]:
    """Run the server for as long as the block lasts."""
    state = OpenAIServer()
    with http_server(type("Handler", (_Handler,), {"state": state})) as state.url:
        yield state
