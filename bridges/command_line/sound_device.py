"""Loudspeakers and microphones of this machine, where there are some."""

import os
from collections.abc import Generator
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
    try:
        return bool(_sounddevice().query_devices(kind="output"))
    except UnavailableError:
        return False
    except Exception:  # noqa: BLE001 - its errors are of its own kinds, and each means that there is none
        return False


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
