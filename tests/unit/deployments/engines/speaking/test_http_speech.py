"""Speech servers: heard while they still speak, in whatever form they send it, and asked for their voices."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.speaking.http_speech import OpenAISpeech
from deployments.errors import DeadlineExceededError, NotFoundError, UnavailableError, UpstreamFailedError
from deployments.inference.text_to_speech import TextToSpeech
from deployments.values.sound import pcm_of, wav_file, wav_header
from deployments.values.speech import SpeechText, SpokenChunk
from tests.speaking import chunks_of

RATE = 24_000
TEXT = "The library opens at nine every morning, and it closes at five."
PCM = pcm_of(0.5 * np.sin(np.arange(4 * RATE) / 20).astype(np.float32))
WAV_OF_UNKNOWN_LENGTH = wav_header(RATE) + PCM
Respond = Callable[[httpx.Request], httpx.Response]


class Sound(httpx.AsyncByteStream):
    """Sound that is sent in pieces; from the second half on, once it may go on."""

    def __init__(self, data: bytes, size: int, may_go_on: asyncio.Event | None = None) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]
        self._may_go_on = may_go_on
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self._pieces):
            if self._may_go_on and number == len(self._pieces) // 2:
                await self._may_go_on.wait()
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def speech(respond: Respond, **settings: Any) -> OpenAISpeech:
    back_end = HttpBackEnd(
        "http://voice.test", role="speech server", takes_client_input=True, transport=httpx.MockTransport(respond)
    )
    return OpenAISpeech(back_end, model="kokoro", **settings)


async def said(engine: OpenAISpeech, text: str = TEXT) -> list[SpokenChunk]:
    return await chunks_of(engine, SpeechText(text, voice="af_heart"))


def with_notes(pcm: bytes) -> bytes:
    """Return a WAV file with a chunk of notes before its sound and one behind it."""
    notes = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    whole = wav_file(pcm, RATE)
    return whole[:36] + notes + whole[36:] + notes


@pytest.mark.parametrize("size", [1, 7, 4096, 100_000, 1_000_000])
@pytest.mark.parametrize(
    ("data", "sample_rate", "headers"),
    [
        (WAV_OF_UNKNOWN_LENGTH, 0, {}),
        (wav_header(RATE, 0) + PCM, 0, {"Content-Type": "audio/wav"}),
        (wav_file(PCM, RATE), 0, {"Content-Type": "audio/x-wav"}),
        (with_notes(PCM), 0, {}),
        (PCM, RATE, {"Content-Type": "audio/pcm"}),
        (PCM, 8000, {"Content-Type": f"audio/L16; codec=pcm; rate={RATE}"}),
        (PCM, 8000, {"Content-Type": "application/octet-stream", "X-Sample-Rate": str(RATE)}),
        (WAV_OF_UNKNOWN_LENGTH, 8000, {"Content-Type": "audio/pcm"}),
    ],
)
async def test_sound_is_whole_at_its_own_rate_however_it_is_sent_and_cut(
    data: bytes, sample_rate: int, headers: Mapping[str, str], size: int
) -> None:
    if size == 1:
        data = data[: 2 * RATE]
    engine = speech(lambda _: httpx.Response(200, headers=headers, stream=Sound(data, size)), sample_rate=sample_rate)
    chunks = await said(engine)
    assert {chunk.rate for chunk in chunks} == {RATE}
    sound = b"".join(chunk.pcm for chunk in chunks)
    assert sound == PCM[: len(sound)]
    assert len(data) - len(sound) < 100
    assert " ".join(chunk.text for chunk in chunks) == TEXT, "each word is in one piece"
    assert [word.word for chunk in chunks for word in chunk.words] == TEXT.split()


async def test_sound_is_heard_before_the_server_has_made_all_of_it() -> None:
    may_go_on = asyncio.Event()
    stream = Sound(WAV_OF_UNKNOWN_LENGTH, 4800, may_go_on)
    engine = speech(lambda _: httpx.Response(200, stream=stream))
    async with aclosing(engine.speak(Call.within(10.0), SpeechText(TEXT, voice="af_heart"))) as chunks:
        first = await anext(chunks)
        assert 0.4 <= first.seconds < 1.0
        assert TEXT.startswith(first.text)
        may_go_on.set()
        rest = [chunk async for chunk in chunks]
    assert len(rest) > 2
    assert all(chunk.words for chunk in rest)


async def test_leaving_a_sentence_closes_the_connection() -> None:
    stream = Sound(WAV_OF_UNKNOWN_LENGTH, 4800)
    engine = speech(lambda _: httpx.Response(200, stream=stream))
    async with aclosing(engine.speak(Call.within(10.0), SpeechText(TEXT, voice="af_heart"))) as chunks:
        await anext(chunks)
    assert stream.closed


async def test_words_find_their_pieces_better_as_a_voice_becomes_known() -> None:
    """The voice is three times as slow as most are."""
    slow = PCM * 3
    engine = speech(lambda _: httpx.Response(200, stream=Sound(wav_header(RATE) + slow, 4800)))

    def error_s(chunks: list[SpokenChunk]) -> float:
        """Return how far the middle word is from the middle of the sound."""
        at, times = 0.0, list[float]()
        for chunk in chunks:
            times += [at + word.start_s for word in chunk.words]
            at += chunk.seconds
        return abs(times[len(times) // 2] - at / 2)

    errors = [error_s(await said(engine)) for _ in range(8)]
    assert errors[-1] < errors[0] / 2
    assert errors[-1] < 2.0


@pytest.mark.parametrize("sample_rate", [0, RATE])
@pytest.mark.parametrize("channels", [1, 2])
async def test_other_files_are_read_as_a_whole(sample_rate: int, channels: int) -> None:
    floats = np.repeat(np.linspace(-0.5, 0.5, RATE, dtype="<f4"), channels).tobytes()
    head = struct.pack("<HHIIHH", 3, channels, RATE, RATE * 4 * channels, 4 * channels, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(floats)) + floats
    file = b"RIFF" + struct.pack("<I", len(body)) + body
    engine = speech(lambda _: httpx.Response(200, stream=Sound(file, 4096)), sample_rate=sample_rate)
    (chunk,) = await said(engine)
    assert (chunk.rate, chunk.seconds, chunk.text) == (RATE, 1.0, TEXT)


async def test_a_server_without_pcm_is_asked_for_wav_from_then_on() -> None:
    asked: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["response_format"])
        if asked[-1] == "pcm":
            return httpx.Response(422, json={"detail": [{"loc": ["body", "response_format"], "msg": "not one of"}]})
        return httpx.Response(200, content=wav_file(PCM, RATE))

    engine = speech(respond, sample_rate=RATE)
    for _ in range(2):
        assert sum(chunk.seconds for chunk in await said(engine)) == 4.0
    assert asked == ["pcm", "wav", "wav"]


async def test_a_refusal_of_something_else_is_told() -> None:
    engine = speech(lambda _: httpx.Response(400, text="no such voice"), sample_rate=RATE)
    with pytest.raises(UpstreamFailedError):
        await said(engine)


async def test_a_server_that_comes_back_is_tried_again_before_the_first_sound() -> None:
    attempts: list[int] = []

    def respond(request: httpx.Request) -> httpx.Response:
        attempts.append(1)
        if len(attempts) < 3:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, content=wav_file(PCM, RATE))

    assert sum(chunk.seconds for chunk in await said(speech(respond))) == 4.0


async def test_sound_that_breaks_off_is_an_error_after_what_came() -> None:
    class Broken(Sound):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield WAV_OF_UNKNOWN_LENGTH[:RATE]
            yield WAV_OF_UNKNOWN_LENGTH[RATE : 2 * RATE]
            raise httpx.ReadError("reset")

    engine = speech(lambda _: httpx.Response(200, stream=Broken(b"", 1)))
    async with aclosing(engine.speak(Call.within(10.0), SpeechText(TEXT, voice="af_heart"))) as chunks:
        assert (await anext(chunks)).pcm
        with pytest.raises(UnavailableError):
            _ = [chunk async for chunk in chunks]


async def test_a_server_that_dribbles_does_not_lengthen_the_time_of_an_answer() -> None:
    engine = speech(lambda _: httpx.Response(200, stream=Sound(WAV_OF_UNKNOWN_LENGTH, 1)))
    with pytest.raises(DeadlineExceededError):
        async with aclosing(engine.speak(Call.within(0.01), SpeechText(TEXT, voice="af_heart"))) as chunks:
            _ = [chunk async for chunk in chunks]


def listing(path: str, answer: object) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == path:
            return httpx.Response(200, json=answer)
        return httpx.Response(404, text="no such page")

    return respond


@pytest.mark.parametrize(
    ("path", "answer", "voices"),
    [
        ("/v1/audio/voices", {"voices": [{"id": "af_heart", "name": "Heart"}, {"id": "bf_emma"}]}, "af_heart bf_emma"),
        ("/v1/audio/voices", {"voices": ["alice", "bob", "alice"]}, "alice bob"),
        ("/v1/audio/voices", {"object": "list", "data": [{"id": "v1"}]}, "v1"),
        (
            "/v1/audio/voices",
            {"voices": [{"voice_id": "a", "model_id": "kokoro"}, {"voice_id": "b", "model_id": "piper"}]},
            "a",
        ),
        ("/v1/voices", {"voices": [{"name": "tara"}]}, "tara"),
        ("/voices", ["dan"], "dan"),
        ("/v1/audio/voices", {"voices": [None, 3, {"id": None}, ""]}, "alloy"),
        ("/v1/audio/voices", {"error": "no"}, "alloy"),
        ("/nowhere", None, "alloy"),
    ],
)
async def test_a_server_is_asked_for_its_voices(path: str, answer: object, voices: str) -> None:
    engine = speech(listing(path, answer))
    await engine.ask_voices(Call.within(5.0))
    assert [voice.name for voice in engine.voices] == voices.split()


async def test_a_voice_s_language_is_the_server_s_word_unless_it_is_set() -> None:
    answer = {"voices": [{"name": "af_heart", "language": "en-us"}]}
    for language, known in (("", "en-us"), ("en", "en")):
        engine = speech(listing("/v1/audio/voices", answer), language=language)
        await engine.ask_voices(Call.within(5.0))
        assert engine.voices[0].language == known


class NoFolder:
    voices = ()
    faults = ()

    def scan(self) -> None:
        """Find nothing."""

    def loaded(self, name: str) -> OpenAISpeech | None:
        raise AssertionError(name)

    def engine(self, name: str) -> OpenAISpeech:
        raise AssertionError(name)


async def test_the_voices_of_a_server_are_those_that_can_be_asked_for() -> None:
    names: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"voices": names}) if names else httpx.Response(503)
        return httpx.Response(200, content=wav_file(PCM, RATE))

    service = TextToSpeech(speech(respond), NoFolder())
    listed = await service.voices(Call.within(5.0), True)
    assert (listed.default, listed.names) == ("alloy", ("alloy",)), "a server that is away is asked again later"
    names += ["af_heart", "bf_emma"]
    async with aclosing(service.speak(Call.within(5.0), SpeechText("Hi", voice="bf_emma"))) as chunks:
        assert [chunk async for chunk in chunks]
    assert (await service.voices(Call.within(5.0), False)).default == "af_heart"
    with pytest.raises(NotFoundError, match="known are af_heart, bf_emma"):
        await anext(service.speak(Call.within(5.0), SpeechText("Hi", voice="alloy")))


async def test_voices_that_are_set_are_not_asked_for() -> None:
    engine = speech(listing("/v1/audio/voices", {"voices": ["other"]}), voices=("mine",))
    await engine.ask_voices(Call.within(5.0))
    assert [voice.name for voice in engine.voices] == ["mine"]
