"""Loudspeakers and microphones of this machine, where there are some."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from deployments.errors import UnavailableError


class Loudspeaker(Protocol):
    """Plays sound."""

    def write(self, pcm: bytes) -> None:
        """Play 16-bit mono PCM; returns when there is room for more."""
        ...


def has_loudspeaker() -> bool:
    """Say whether sound can be played here."""
    return _has("output")


@contextmanager
def loudspeaker(rate: int) -> Generator[Loudspeaker]:
    """Open the loudspeaker; leaving the context waits until all was heard.

    Raises:
        UnavailableError: There is none, or what drives it is not installed.
    """
    device = _sounddevice()
    try:
        stream: Any = device.RawOutputStream(samplerate=rate, channels=1, dtype="int16")
    except Exception as error:
        raise UnavailableError(f"no loudspeaker can be opened: {error}; write to a file with --out FILE") from error
    with stream:
        yield stream
        stream.stop()


class Speaker(Protocol):
    """Plays sound that can be taken back.

    Attributes:
        latency_s: From giving a sound to hearing it.
    """

    latency_s: float

    def write(self, pcm: bytes) -> None:
        """Play 16-bit mono PCM behind what was given before; returns at once."""
        ...

    def clear(self) -> None:
        """Play nothing more of what was given."""
        ...


class _BufferedSpeaker:
    """Gives the device what it asks for, from a buffer that can be emptied."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lock = threading.Lock()
        self.latency_s = 0.0

    def write(self, pcm: bytes) -> None:
        with self._lock:
            self._buffer += pcm

    def clear(self) -> None:
        with self._lock:
            self._buffer.clear()

    def give(self, wanted: Any, frames: int, time: Any, status: Any) -> None:
        """Fill the device's buffer, on its own thread, with silence where nothing is to be played."""
        del frames, time, status
        with self._lock:
            given = bytes(self._buffer[: len(wanted)])
            del self._buffer[: len(given)]
        wanted[:] = given + bytes(len(wanted) - len(given))


@contextmanager
def speaker(rate: int) -> Generator[Speaker]:
    """Open the loudspeaker for sound that can be taken back.

    Raises:
        UnavailableError: As `loudspeaker`.
    """
    device, buffered = _sounddevice(), _BufferedSpeaker()
    try:
        stream: Any = device.RawOutputStream(samplerate=rate, channels=1, dtype="int16", callback=buffered.give)
    except Exception as error:
        raise UnavailableError(f"no loudspeaker can be opened: {error}; name files instead") from error
    with stream:
        buffered.latency_s = float(stream.latency)
        yield buffered


@contextmanager
def microphone(rate: int, chunk_s: float) -> Generator[AsyncGenerator[bytes]]:
    """Open the microphone and give its sound, 16-bit mono PCM, as it comes.

    Raises:
        UnavailableError: There is none, or what drives it is not installed.
    """
    device = _sounddevice()
    loop = asyncio.get_running_loop()
    # Ten seconds: more is only there when nobody takes it.
    pieces: asyncio.Queue[bytes] = asyncio.Queue(int(10 / chunk_s))

    def put(piece: bytes) -> None:
        if not pieces.full():
            pieces.put_nowait(piece)

    def take(data: Any, frames: int, time: Any, status: Any) -> None:
        del frames, time, status
        loop.call_soon_threadsafe(put, bytes(data))

    async def heard() -> AsyncGenerator[bytes]:
        while True:
            yield await pieces.get()

    try:
        stream: Any = device.RawInputStream(
            samplerate=rate, channels=1, dtype="int16", blocksize=int(rate * chunk_s), callback=take
        )
    except Exception as error:
        raise UnavailableError(f"no microphone can be opened: {error}; name files instead") from error
    with stream:
        yield heard()


def has_microphone() -> bool:
    """Say whether sound can be recorded here."""
    return _has("input")


def _has(kind: str) -> bool:
    try:
        return bool(_sounddevice().query_devices(kind=kind))
    except UnavailableError:
        return False
    except Exception:  # noqa: BLE001 - its errors are of its own kinds, and each means that there is none
        return False


def _sounddevice() -> Any:
    # PortAudio reports what it looks for on standard error.
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    try:
        import sounddevice  # noqa: PLC0415 - an extra, slow to import  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:
        raise UnavailableError(
            f"no sound device: {error}; install `hearth[sound]` and PortAudio, or write to a file with --out FILE"
        ) from error
    return cast("Any", sounddevice)
