"""Model servers that ask who we are, over real TLS: every engine that speaks HTTP."""

import base64
import json
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.speech_engines import speech_to_text_engine, text_to_speech_engine
from deployments.engines.text_engines import embeddings_engine, language_model_engine, reranker_engine
from deployments.errors import UnavailableError, UpstreamFailedError
from deployments.settings.base import Settings
from deployments.settings.speech_models import SpeechToTextSettings, TextToSpeechSettings
from deployments.settings.text_models import EmbeddingsSettings, LanguageModelSettings, RerankerSettings
from deployments.values.language import Generation, Message, Role
from deployments.values.sound import wav_file
from deployments.values.speech import SpeechText, TranscriptQuality
from tests.certificates import Certificates, MountedSecret
from tests.refusals import refused
from tests.servers import http_server
from tests.speaking import chunks_of

KEY = "k3y-0f-h3arth"
OTHER_KEY = "an0th3r-k3y"
WAV = wav_file(b"\0\0" * 800, 16_000)


# The servers.


@dataclass
class Guarded:
    """A model server that speaks the APIs of all engines, and asks who comes.

    Attributes:
        url: Where it listens.
        header: In which it wants to be told.
        let_in: What it wants to be told; None to let everybody in.
        asked: The paths that it was asked for, and by whom.
        redirect: Where it sends everybody; empty for nowhere.
    """

    url: str = ""
    header: str = "Authorization"
    let_in: set[str] | None = None
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    redirect: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    guarded: Guarded

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        is_json = self.headers["Content-Type"] == "application/json"
        self.answer(json.loads(content) if is_json else {"file": len(content)})

    def answer(self, body: dict[str, Any]) -> None:
        guarded, path = self.guarded, self.path.partition("?")[0]
        who = self.headers.get(guarded.header, "")
        guarded.asked.append((path, who))
        if guarded.redirect:
            self.send(307, "text/plain", b"", {"Location": guarded.redirect + self.path})
        elif path == "/":
            # As many servers do it, which guard their API alone.
            self.send(200, "text/plain", b"")
        elif guarded.let_in is not None and who not in guarded.let_in:
            self.send(401, "application/json", json.dumps({"error": f"{who!r} is nobody"}).encode())
        elif not body and self.command == "POST":
            self.send(422, "application/json", b'{"error": "there is nothing in it"}')
        else:
            self.send(200, *ANSWERS[path](body))

    def send(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


def as_json(answer: object) -> tuple[str, bytes]:
    return "application/json", json.dumps(answer).encode()


def completion(body: dict[str, Any]) -> tuple[str, bytes]:
    del body
    said = json.dumps({"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]})
    return "text/event-stream", f"data: {said}\n\ndata: [DONE]\n\n".encode()


def ranking(body: dict[str, Any]) -> tuple[str, bytes]:
    """Answer as TEI does, or as others."""
    ranks = [{"index": 0, "score": 0.5, "relevance_score": 0.5}]
    return as_json(ranks if "texts" in body else {"results": ranks})


ANSWERS: dict[str, Callable[[dict[str, Any]], tuple[str, bytes]]] = {
    "/v1/chat/completions": completion,
    "/v1/embeddings": lambda _: as_json({"data": [{"index": 0, "embedding": [1.0, 0.0]}]}),
    "/embed": lambda _: as_json([[1.0, 0.0]]),
    "/rerank": ranking,
    "/v1/audio/transcriptions": lambda _: as_json({"text": "Hello"}),
    "/v1/audio/speech": lambda _: ("audio/wav", WAV),
    "/api/tts": lambda _: ("audio/wav", WAV),
}


@contextmanager
def guarded(tls: ssl.SSLContext | None = None, **given: Any) -> Generator[Guarded]:
    state = Guarded(**given)
    with http_server(type("Guarding", (Handler,), {"guarded": state}), tls) as state.url:
        yield state


# The engines.


class Checked(Protocol):
    """What all engines over HTTP can do."""

    @property
    def description(self) -> str: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def no_deployment(application: str, deployment: str, role: str) -> Any:
    raise AssertionError(f"{application}, {deployment} and {role} are of the cluster")


def soon() -> Call:
    return Call.within(5.0, "test")


async def answer(engine: Any) -> None:
    async with aclosing(engine.generate(soon(), [Message(Role.USER, "Hi")], Generation())) as pieces:
        assert [piece.text async for piece in pieces] == ["Hello"]


async def embed(engine: Any) -> None:
    assert (await engine.embed(soon(), ["a text"])).shape == (1, 2)


async def rerank(engine: Any) -> None:
    assert [rank.index for rank in await engine.rerank(soon(), "a question", ["a passage"])] == [0]


async def transcribe(engine: Any) -> None:
    sound = np.zeros(1600, np.float32)
    assert (await engine.transcribe(soon(), sound, "en", TranscriptQuality.FINAL)).text == "Hello"


async def speak(engine: Any) -> None:
    assert await chunks_of(engine, SpeechText("Hello", "alloy"))


@dataclass(frozen=True)
class Kind:
    """An engine that speaks HTTP.

    Attributes:
        settings: Of its application.
        engine: Its own settings, without where the server is.
        build: Makes it.
        ask: Has it do what it is there for.
    """

    settings: type[Settings]
    engine: dict[str, Any]
    build: Callable[[Any, Any], Any]
    ask: Callable[[Any], Awaitable[None]]

    def given(self, url: str, **access: Any) -> Any:
        return self.settings.model_validate({"engine": {**self.engine, "base_url": url, **access}})

    @asynccontextmanager
    async def at(self, url: str, **access: Any) -> AsyncGenerator[Checked]:
        engine: Checked = self.build(self.given(url, **access), no_deployment)
        try:
            yield engine
        finally:
            await engine.close()


CHAT = {"kind": "openai", "model": "m", "context_tokens": 100}
KINDS = {
    "language model": Kind(LanguageModelSettings, CHAT, language_model_engine, answer),
    "embeddings": Kind(EmbeddingsSettings, {"kind": "openai", "model": "m"}, embeddings_engine, embed),
    "TEI embeddings": Kind(EmbeddingsSettings, {"kind": "tei"}, embeddings_engine, embed),
    "reranker": Kind(RerankerSettings, {"kind": "rerank-api"}, reranker_engine, rerank),
    "TEI reranker": Kind(RerankerSettings, {"kind": "tei"}, reranker_engine, rerank),
    "speech to text": Kind(SpeechToTextSettings, {"kind": "openai"}, speech_to_text_engine, transcribe),
    "text to speech": Kind(TextToSpeechSettings, {"kind": "openai"}, text_to_speech_engine, speak),
    "Coqui": Kind(TextToSpeechSettings, {"kind": "coqui"}, text_to_speech_engine, speak),
}
ONE = KINDS["embeddings"]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.of(tmp_path / "certificates")


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


# By a secret.


async def test_a_key_out_of_a_file_lets_every_engine_in(kind: Kind, certificates: Certificates, tmp_path: Path) -> None:
    key = MountedSecret(tmp_path / "secret", f"{KEY}\n")
    tls = {"ca_file": certificates.ca_file}
    with guarded(certificates.of_server(), let_in={f"Bearer {KEY}"}) as server:
        async with kind.at(f"{server.url}/v1", api_key_file=key.file, tls=tls) as engine:
            await engine.check()
            await kind.ask(engine)
    assert {who for _, who in server.asked} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("header", "key", "sent"),
    [
        ("Authorization", KEY, f"Bearer {KEY}"),
        ("Authorization", f"Bearer {KEY}", f"Bearer {KEY}"),
        ("Authorization", basic("ada", KEY), basic("ada", KEY)),
        ("x-api-key", KEY, KEY),
    ],
)
async def test_a_key_out_of_a_variable_is_sent_as_the_server_wants_it(
    monkeypatch: pytest.MonkeyPatch, header: str, key: str, sent: str
) -> None:
    monkeypatch.setenv("MODEL_KEY", f" {key}\n")
    with guarded(header=header, let_in={sent}) as server:
        async with ONE.at(server.url, api_key_variable="MODEL_KEY", api_key_header=header) as engine:
            await engine.check()
            await ONE.ask(engine)


async def test_a_user_and_password_of_the_url_are_sent_and_shown_nowhere(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(let_in={basic("ada", "s@/fe w0rd")}) as server:
        url = server.url.replace("://", "://ada:s%40%2Ffe%20w0rd@")
        async with kind.at(url) as engine:
            await engine.check()
            await kind.ask(engine)
            server.let_in = set()
            with refused(UpstreamFailedError, retryable=False) as raised:
                await kind.ask(engine)
            status = await engine_status("Model", engine.description, engine.check())
    assert not status.ready
    assert "engine.base_url" in status.detail
    assert "engine.base_url" in caplog.text
    shown = f"{caplog.text}{raised.value!r}{raised.value.message}{status}{engine.description}{kind.given(url)!r}"
    assert not [secret for secret in ("w0rd", "ada:", basic("ada", "s@/fe w0rd")) if secret in shown]


async def test_a_proxy_in_front_of_a_server_may_ask_for_a_password_beside_the_key(tmp_path: Path) -> None:
    key = MountedSecret(tmp_path / "secret", KEY)
    with guarded(header="x-api-key", let_in={KEY}) as server:
        url = server.url.replace("://", "://ada:word@")
        async with ONE.at(url, api_key_file=key.file, api_key_header="x-api-key") as engine:
            await ONE.ask(engine)


async def test_a_key_that_is_refused_is_not_ready_and_its_place_is_named(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = MountedSecret(tmp_path / "secret", KEY)
    with guarded(let_in={f"Bearer {OTHER_KEY}"}) as server:
        async with kind.at(server.url, api_key_file=key.file) as engine:
            before = await engine_status("Model", engine.description, engine.check())
            with refused(UpstreamFailedError, retryable=False) as raised:
                await kind.ask(engine)
            after = await engine_status("Model", engine.description, engine.check())
    for status in (before, after):
        assert not status.ready
        assert f"(status 401); look at engine.api_key_file ({key.file})" in status.detail
    assert f"look at engine.api_key_file ({key.file})" in caplog.text
    assert "401" in raised.value.message
    assert KEY not in f"{caplog.text}{raised.value!r}{before}{after}{engine.__dict__!r}"


async def test_no_key_where_one_is_wanted_is_not_ready_once_that_is_known(kind: Kind) -> None:
    with guarded(let_in={f"Bearer {KEY}"}) as server:
        async with kind.at(server.url) as engine:
            await engine.check()
            with refused(UpstreamFailedError, retryable=False):
                await kind.ask(engine)
            with refused(UnavailableError) as raised:
                await engine.check()
            assert "engine.api_key_file or engine.api_key_variable" in raised.value.message
            # Whoever mends the server need not wait for a request, which may wait for us to be ready.
            server.let_in = None
            await engine.check()


async def test_a_new_key_is_taken_and_the_old_one_is_refused(kind: Kind, tmp_path: Path) -> None:
    key = MountedSecret(tmp_path / "secret", KEY)
    with guarded(let_in={f"Bearer {KEY}"}) as server:
        async with kind.at(server.url, api_key_file=key.file) as engine:
            await kind.ask(engine)
            await engine.check()
            server.let_in = {f"Bearer {OTHER_KEY}"}
            with refused(UpstreamFailedError, retryable=False):
                await kind.ask(engine)
            with refused(UnavailableError):
                await engine.check()
            key.put(OTHER_KEY)
            await engine.check()
            await kind.ask(engine)
            key.put(KEY)
            with refused(UnavailableError):
                await engine.check()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "engine.api_key_file cannot be read: No such file"),
        (b" \n", "engine.api_key_file is empty"),
        (b"one\ntw0-w0rds", "engine.api_key_file holds what no header can"),
        ("schl\u00fcssel-w0rd".encode(), "engine.api_key_file holds what no header can"),
        (b"\xff\xfe-w0rd", "engine.api_key_file cannot be read: UnicodeDecodeError"),
    ],
)
async def test_a_key_that_cannot_be_sent_is_named_by_its_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, said: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with guarded() as server:
        async with ONE.at(server.url, api_key_file=str(file)) as engine:
            with refused(UnavailableError) as raised:
                await ONE.ask(engine)
            status = await engine_status("Model", engine.description, engine.check())
    assert not server.asked
    assert said in raised.value.message
    assert said in status.detail
    assert str(tmp_path) not in raised.value.message
    assert str(file) in caplog.text
    assert "w0rd" not in f"{caplog.text}{raised.value!r}{status}"


async def test_a_redirect_carries_the_key_nowhere(kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = MountedSecret(tmp_path / "secret", KEY)
    with guarded(header="x-api-key") as elsewhere, guarded(redirect=elsewhere.url) as server:
        async with kind.at(server.url, api_key_file=key.file, api_key_header="x-api-key") as engine:
            with refused(UpstreamFailedError, retryable=False):
                await kind.ask(engine)
    assert server.asked
    assert not elsewhere.asked
    assert "look at engine.base_url: the server sends us elsewhere" in caplog.text


# By certificates.


async def test_certificates_let_every_engine_in(kind: Kind, certificates: Certificates) -> None:
    certificate, key = certificates.issue("hearth.test")
    tls = {"ca_file": certificates.ca_file, "certificate_file": certificate, "key_file": key, "server_name": "m.test"}
    with guarded(certificates.of_server("m.test", asks_clients=True)) as server:
        async with kind.at(server.url, tls=tls) as engine:
            await engine.check()
            await kind.ask(engine)


def of_a_stranger(certificates: Certificates) -> tuple[str, str]:
    return Certificates.of(certificates.folder / "strange").issue("hearth.test")


Wrong = Callable[[Certificates], tuple[ssl.SSLContext, dict[str, str]]]
WRONG: dict[str, tuple[Wrong, str]] = {
    "another authority": (
        lambda ours: (ours.of_server(), {"ca_file": Certificates.of(ours.folder / "other").ca_file}),
        "CERTIFICATE_VERIFY_FAILED",
    ),
    "no authority": (lambda ours: (ours.of_server(), {}), "CERTIFICATE_VERIFY_FAILED"),
    "another name": (lambda ours: (ours.of_server("m.test"), {"ca_file": ours.ca_file}), "CERTIFICATE_VERIFY_FAILED"),
    "an expired server": (
        lambda ours: (ours.of_server(expired=True), {"ca_file": ours.ca_file}),
        "certificate has expired",
    ),
    "no client certificate": (
        lambda ours: (ours.of_server(asks_clients=True), {"ca_file": ours.ca_file}),
        "engine.tls",
    ),
    "an expired client": (
        lambda ours: (
            ours.of_server(asks_clients=True),
            {"ca_file": ours.ca_file, **client(ours.issue("hearth.test", expired=True))},
        ),
        "engine.tls",
    ),
    "a strange client": (
        lambda ours: (ours.of_server(asks_clients=True), {"ca_file": ours.ca_file, **client(of_a_stranger(ours))}),
        "engine.tls",
    ),
}


def client(files: tuple[str, str]) -> dict[str, str]:
    return {"certificate_file": files[0], "key_file": files[1]}


@pytest.mark.parametrize("wrong", list(WRONG))
async def test_where_one_side_does_not_trust_the_other_the_settings_are_named(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    make, reason = WRONG[wrong]
    context, tls = make(certificates)
    key = MountedSecret(tmp_path / "secret", KEY)
    with guarded(context) as server:
        async with ONE.at(server.url, api_key_file=key.file, tls=tls) as engine:
            with refused(UnavailableError, retryable=True) as raised:
                await ONE.ask(engine)
            status = await engine_status("Model", engine.description, engine.check())
    assert not server.asked
    for text in (raised.value.message, status.detail, caplog.text):
        assert reason in text
        assert "engine.tls" in text
    assert KEY not in f"{caplog.text}{raised.value!r}{status}"


async def test_a_certificate_that_was_renewed_is_used_from_the_next_request_on(certificates: Certificates) -> None:
    tls = {"ca_file": certificates.ca_file, **client(certificates.issue("hearth.test", expired=True))}
    with guarded(certificates.of_server(asks_clients=True)) as server:
        async with ONE.at(server.url, tls=tls) as engine:
            with refused(UnavailableError):
                await engine.check()
            certificates.issue("hearth.test")
            await engine.check()
            await ONE.ask(engine)


async def test_a_stream_goes_on_while_certificates_change(certificates: Certificates) -> None:
    tls = {"ca_file": certificates.ca_file, **client(certificates.issue("hearth.test"))}
    with guarded(certificates.of_server(asks_clients=True)) as server:
        async with KINDS["language model"].at(server.url, tls=tls) as engine:
            messages = [Message(Role.USER, "Hi")]
            generated: Any = engine
            async with aclosing(generated.generate(soon(), messages, Generation())) as pieces:
                first = await anext(pieces)
                certificates.issue("hearth.test")
                await KINDS["language model"].ask(engine)
                assert [first.text, *[piece.text async for piece in pieces]] == ["Hello"]


@pytest.mark.parametrize("name", ["ca_file", "certificate_file", "key_file"])
async def test_a_file_that_cannot_be_used_is_named_by_its_settings(
    certificates: Certificates, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tls = {"ca_file": certificates.ca_file, **client(certificates.issue("hearth.test"))}
    broken = certificates.folder / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nw0rd\n-----END PRIVATE KEY-----\n")
    with guarded(certificates.of_server()) as server:
        async with ONE.at(server.url, tls={**tls, name: str(broken)}) as engine:
            with refused(UnavailableError) as raised:
                await ONE.ask(engine)
            with refused(UnavailableError):
                await engine.check()
    assert "a certificate of engine.tls cannot be used" in raised.value.message
    assert str(broken) in caplog.text
    assert "w0rd" not in f"{caplog.text}{raised.value!r}"
