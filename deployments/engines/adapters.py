"""Ready-made adapters for deployments that take and answer what model services take and answer over HTTP.

Each takes:

* `method`: of the deployment, "__call__" where nothing else is said.
* `takes`: how the method takes the fields of a request: "dict", one argument; "named", each by its name; "http", a
  Starlette request with the fields as its body, for a deployment that was written to be called over HTTP.
* `model`: put into the request where it is not empty.

An answer may be a dict, an object with the same attributes, JSON as text or bytes, or a Starlette response that holds
one of them. A Starlette *streaming* response cannot leave its replica by handle: such a deployment streams over HTTP
only, or gets a method that is a generator.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import httpx

from deployments.engines.adapter_protocols import Arguments
from deployments.engines.llm_server import NamedElsewhere
from deployments.engines.shapes import (
    DONE,
    FailureToldError,
    ShapeError,
    chat_event,
    chat_request,
    rankings_of,
    transcript_of,
)
from deployments.values.language import Generation, Message, Piece
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, wav_file
from deployments.values.speech import SpeechText

Takes = Literal["dict", "named", "http"]

_CALL = "__call__"
_HOST = "http://deployment"
_EVENT = "data:"
_NO_DATA = (":", "event:", "id:", "retry:")
"""Comments, which keep a connection open, and the other fields of server-sent events."""
_BYTES = (bytes, bytearray)


class HttpRequest:
    """A request that is unpickled to a `starlette.requests.Request` with a body that was read already.

    Args:
        request: What to make it from.
    """

    def __init__(self, request: httpx.Request) -> None:
        self._scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "server": ("deployment", 80),
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "root_path": "",
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }
        self._body = request.read()

    def __reduce__(self) -> tuple[object, tuple[object, ...], dict[str, Any]]:
        return NamedElsewhere("starlette.requests:Request"), (self._scope,), {"_body": self._body}


class ChatCompletions:
    """OpenAI's chat completions, whole or streamed: dicts, or the lines of server-sent events.

    Args:
        model: See the module.
        method: See the module.
        streams: Whether the method is a generator. It is asked for `stream` accordingly.
        takes: See the module.
    """

    def __init__(self, model: str = "", method: str = _CALL, *, streams: bool = True, takes: Takes = "dict") -> None:
        self.method = method
        self.streams = streams
        self._model = model
        self._takes: Takes = _known(takes)

    def request(self, messages: Sequence[Message], generation: Generation) -> Arguments:
        body = chat_request(self._model, messages, generation) | {"stream": self.streams}
        return _arguments(self._takes, "/v1/chat/completions", body)

    def text(self, item: Any) -> Piece:
        said = _plain(item)
        if not isinstance(said, str):
            return _piece_of(said)
        lines = [line.removeprefix(_EVENT).strip() for line in said.split("\n") if not line.startswith(_NO_DATA)]
        pieces = [_piece_of(line) for line in lines if line and line != DONE]
        end = next((piece.end for piece in pieces if piece.end), None)
        return Piece("".join(piece.text for piece in pieces), "".join(piece.thought for piece in pieces), end)


class Embeddings:
    """OpenAI's embeddings; see the module for the arguments."""

    streams = False

    def __init__(self, model: str = "", method: str = _CALL, *, takes: Takes = "dict") -> None:
        self.method = method
        self._model = model
        self._takes: Takes = _known(takes)

    def request(self, texts: Sequence[str]) -> Arguments:
        return _arguments(self._takes, "/v1/embeddings", _named(model=self._model, input=list(texts)))

    def vectors(self, answer: Any) -> Sequence[Sequence[float]]:
        entries: list[Any] = sorted(_json(answer)["data"], key=lambda entry: entry["index"])
        return [entry["embedding"] for entry in entries]


class Rerank:
    """The rerank API; see the module for the arguments."""

    streams = False

    def __init__(self, model: str = "", method: str = _CALL, *, takes: Takes = "dict") -> None:
        self.method = method
        self._model = model
        self._takes: Takes = _known(takes)

    def request(self, query: str, passages: Sequence[str]) -> Arguments:
        body = _named(model=self._model, query=query, documents=list(passages), top_n=len(passages))
        return _arguments(self._takes, "/rerank", body)

    def scores(self, answer: Any) -> Sequence[float]:
        said = _json(answer)
        results = cast("list[Any]", said["results"] if isinstance(said, Mapping) else said)
        by_index = sorted(rankings_of(results, len(results)), key=lambda ranking: ranking.index)
        return [ranking.score for ranking in by_index]


class Transcription:
    """OpenAI's transcriptions: `file`, a WAV file, and `language` where it is known; see the module for the arguments.

    With `takes: http` the request is a form with a file, as over HTTP.
    """

    streams = False

    def __init__(self, model: str = "", method: str = _CALL, *, takes: Takes = "dict") -> None:
        self.method = method
        self._model = model
        self._takes: Takes = _known(takes)

    def request(self, samples: Samples, language: str) -> Arguments:
        wav = wav_file(pcm_of(samples), SPEECH_RATE)
        fields = _named(model=self._model, language=language, response_format="json")
        if self._takes != "http":
            return _arguments(self._takes, "", {"file": wav, **fields})
        files = {"file": ("utterance.wav", wav, "audio/wav")}
        url = f"{_HOST}/v1/audio/transcriptions"
        return Arguments(HttpRequest(httpx.Request("POST", url, data=fields, files=files)))

    def text(self, answer: Any) -> str:
        return transcript_of(_json(answer))


class Speech:
    """OpenAI's speech: text in, an audio file out; see the module for the other arguments.

    Args:
        model: See the module.
        method: See the module.
        streams: Whether the method is a generator of audio files.
        takes: See the module.
        reference_field: Field that takes a voice sample as base64 text; empty where voices are not imitated.
    """

    def __init__(
        self,
        model: str = "",
        method: str = _CALL,
        *,
        streams: bool = False,
        takes: Takes = "dict",
        reference_field: str = "",
    ) -> None:
        self.method = method
        self.streams = streams
        self._model = model
        self._takes: Takes = _known(takes)
        self._reference_field = reference_field

    def request(self, sentence: SpeechText) -> Arguments:
        body = _named(model=self._model, input=sentence.text, voice=sentence.voice, response_format="wav")
        return _arguments(self._takes, "/v1/audio/speech", body | _reference(self._reference_field, sentence))

    def sound(self, item: Any) -> bytes:
        return _bytes(item)


class Coqui:
    """Coqui's `/api/tts`: `text`, `speaker_id` and `language_id` in, an audio file out; see `Speech`.

    With `takes: http` the request is a GET with the fields as parameters, or a form where it has a voice sample.
    """

    streams = False

    def __init__(self, method: str = _CALL, *, takes: Takes = "dict", reference_field: str = "") -> None:
        self.method = method
        self._takes: Takes = _known(takes)
        self._reference_field = reference_field

    def request(self, sentence: SpeechText) -> Arguments:
        fields = _named(text=sentence.text, speaker_id=sentence.voice, language_id=sentence.language)
        reference = _reference(self._reference_field, sentence)
        if self._takes != "http":
            return _arguments(self._takes, "", fields | reference)
        url = f"{_HOST}/api/tts"
        if reference:
            return Arguments(HttpRequest(httpx.Request("POST", url, data=fields | reference)))
        return Arguments(HttpRequest(httpx.Request("GET", url, params=fields)))

    def sound(self, item: Any) -> bytes:
        return _bytes(item)


def _known(takes: Takes) -> Takes:
    if takes not in get_args(Takes):
        raise TypeError(f"takes is {takes!r}, expected one of {', '.join(get_args(Takes))}")
    return takes


def _arguments(takes: Takes, path: str, body: Mapping[str, Any]) -> Arguments:
    match takes:
        case "dict":
            return Arguments(dict(body))
        case "named":
            return Arguments(**body)
        case "http":
            return Arguments(HttpRequest(httpx.Request("POST", f"{_HOST}{path}", json=dict(body))))


def _named(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not empty."""
    return {name: value for name, value in fields.items() if value not in ("", None)}


def _reference(field: str, sentence: SpeechText) -> dict[str, Any]:
    if not sentence.reference or not field:
        return {}
    return {field: base64.b64encode(sentence.reference).decode()}


def _plain(answer: Any) -> Any:
    """Return what an answer holds: of a response its body, of an object its attributes, of bytes their text."""
    body: Any = getattr(answer, "body", answer)
    if isinstance(body, _BYTES):
        return bytes(body).decode()
    dump = getattr(body, "model_dump", None)
    return dump() if callable(dump) else cast("object", body)


def _json(answer: Any) -> Any:
    said = _plain(answer)
    return json.loads(said) if isinstance(said, str) else said


def _bytes(answer: Any) -> bytes:
    body: Any = getattr(answer, "body", answer)
    if not isinstance(body, _BYTES):
        raise ShapeError(f"{type(body).__name__} where an audio file was expected")
    return bytes(body)


def _piece_of(event: str | Mapping[str, Any]) -> Piece:
    said = chat_event(event)
    if said.error is not None:
        raise FailureToldError(said.error)
    return Piece(said.text, said.thought, said.end)
