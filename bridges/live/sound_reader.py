"""The sound of one session, from the bytes of its messages to what is listened to: 16-bit mono PCM at 16 kHz."""

import io
from dataclasses import dataclass, replace

import numpy as np
import soundfile
import soxr

from deployments.errors import InvalidRequestError, Limit, PayloadTooLargeError
from deployments.sound import wav
from deployments.sound.kinds import kind_of, may_be_framed
from deployments.sound.mono import Frames, MonoMixer, within_scale
from deployments.values.sound import SPEECH_RATE, pcm_of

_RATES = range(4_000, 192_001)
_CHANNELS = range(1, 9)
_SUBTYPES = {
    (wav.PCM, 8): "PCM_U8",
    (wav.PCM, 16): "PCM_16",
    (wav.PCM, 24): "PCM_24",
    (wav.PCM, 32): "PCM_32",
    (wav.FLOAT, 32): "FLOAT",
    (wav.FLOAT, 64): "DOUBLE",
    (wav.ALAW, 8): "ALAW",
    (wav.MULAW, 8): "ULAW",
}
"""What libsndfile calls the ways in which samples are written one by one."""
_BEGINS = (b"RIFF", b"RF64", b"BW64")
_MOST_FILES = 32
"""WAV files that one message may begin."""
_MOST_FORMATS = 4
"""Formats that one message may change to: for each, a resampler is made, which takes longer than the sound of a file of
a few bytes."""
_MOST_S = 120.0
"""Sound of one message that is converted: all sessions wait meanwhile, and a small message may hold minutes of it."""
_MOST_KEPT = 65_536
"""Bytes that are kept of a beginning that does not say yet what it is. Headers have far fewer that say anything; a file
of frames is told from samples by fewer, too."""
_COUNTED_FROM = 1024
"""Fewer are not counted as sound that waits: so few are a part of what any session takes."""


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How samples are written.

    Attributes:
        rate: Samples a second.
        channels: Interleaved.
        bits: Of a sample.
        codec: A number of the WAV format: `wav.PCM` for integers, `wav.FLOAT`, `wav.ALAW`, `wav.MULAW`.
    """

    rate: int = SPEECH_RATE
    channels: int = 1
    bits: int = 16
    codec: int = wav.PCM

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    @property
    def subtype(self) -> str:
        """What libsndfile calls it."""
        return _SUBTYPES[self.codec, self.bits]

    def check(self) -> "SoundFormat":
        """Return the format.

        Raises:
            InvalidRequestError: It is none that can be read; the message names the value.
        """
        if self.rate not in _RATES:
            raise InvalidRequestError(f"sample_rate {self.rate}: expected {_RATES[0]} to {_RATES[-1]}")
        if self.channels not in _CHANNELS:
            raise InvalidRequestError(f"channels {self.channels}: expected {_CHANNELS[0]} to {_CHANNELS[-1]}")
        sizes = [bits for codec, bits in _SUBTYPES if codec == self.codec]
        if not sizes:
            name = wav.WavFormat(self.codec, self.channels, self.rate, self.bits).codec_name
            raise InvalidRequestError(
                f"a stream of WAV with {name} is not read here: expected PCM, floating point, A-law or µ-law"
            )
        if self.bits not in sizes:
            raise InvalidRequestError(f"bit_depth {self.bits}: expected one of {', '.join(map(str, sizes))}")
        return self


class SoundReader:
    """Reads the sound of one session, piece by piece: bytes that do not make up a sample wait for the next piece.

    A piece may begin with a WAV header, which then says how the sound is written, whatever the messages say; the first
    one may be cut anywhere.
    """

    __slots__ = (
        "_behind",
        "_changes",
        "_converted_s",
        "_fault",
        "_format",
        "_has_ended",
        "_header",
        "_left",
        "_may_begin",
        "_mixer",
        "_resampler",
        "_rest",
        "_skipped",
        "_tail",
        "_to_skip",
        "_told",
    )

    def __init__(self) -> None:
        self._format: SoundFormat = SoundFormat()
        self._mixer = MonoMixer(1, SPEECH_RATE)
        self._resampler: soxr.ResampleStream | None = None
        self._rest: bytes = b""
        self._may_begin = True
        self._skipped = 0
        """Bytes of a header that is not whole that need not be kept, those to come included."""
        self._to_skip = 0
        """Those to come."""
        self._header: wav.WavHeader | None = None
        """The last header: it holds for all that follows. None for raw PCM, whose format the messages tell."""
        self._behind = b""
        """The first bytes behind the sound that it promises, while they are too few to say what they are."""
        self._left: int | None = None
        """Bytes of sound that the last header still promises; None where it promises none, or promised too little."""
        self._tail = b""
        """What the resampler still held when the format changed."""
        self._changes = 0
        """How often the message which is read has changed the format."""
        self._converted_s = 0.0
        """Seconds of sound that the message which is read has brought and that had to be converted."""
        self._has_ended = False
        """Whether the sound of the last WAV file is over; what follows until the next one is no sound."""
        self._fault = ""
        """Why what came could not be read; what follows it is of the same kind."""
        self._told = (0, 0, 0)
        """What the last message that was looked at said of its format."""

    @property
    def bytes_per_second(self) -> int:
        """Bytes that a second of sound takes as its client writes it."""
        return self._format.frame_bytes * self._format.rate

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept of a beginning until it says what it is; 0 where they are few."""
        return len(self._rest) if self._may_begin and len(self._rest) > _COUNTED_FROM else 0

    @property
    def format(self) -> SoundFormat:
        """How the sound is written, as far as that is known."""
        return self._format

    def go_on(self, found: SoundFormat) -> None:
        """Go on with a stream whose beginning another reader has read.

        Raises:
            InvalidRequestError: The format is none that can be read.
        """
        self._may_begin = False
        self._change(found)

    def forget(self) -> None:
        """Give up a beginning: what goes on with it is refused."""
        self._refuse("the beginning of this sound was lost, because too much sound waited")

    def read(self, data: bytes, *, rate: int = 0, channels: int = 0, bits: int = 0) -> bytes:
        """Return a piece of the stream as 16-bit mono PCM at 16 kHz.

        Args:
            data: The piece.
            rate: Samples a second, where its message says so; else 0, which leaves it as it was. Behind a WAV header,
                which knows better, what is told counts for nothing.
            channels: Likewise.
            bits: Of a sample, likewise.

        Raises:
            InvalidRequestError: The format is none that can be read. The piece is dropped, and so is what goes on with
                it: all pieces up to one with another format or a WAV header.
            PayloadTooLargeError: The piece holds more than two minutes of sound that has to be converted. It is
                dropped; what goes on with it is read.
        """
        told = (rate, channels, bits)
        if self._fault and (data.startswith(_BEGINS) or told not in {self._told, (0, 0, 0)}):
            self._fault = ""
        if self._fault:
            raise InvalidRequestError(self._fault)
        self._told = told
        self._changes, self._converted_s = 0, 0.0
        try:
            pcm = self._read(data, rate, channels, bits)
        except InvalidRequestError as fault:
            self._refuse(fault.message)
            raise
        if self._converted_s > _MOST_S:
            raise PayloadTooLargeError(
                f"a message with more than {_MOST_S:g} s of sound that is not 16-bit mono PCM at 16 kHz",
                field="audio",
                limit=Limit("message_s", _MOST_S, self._converted_s),
            )
        return pcm

    def finish(self) -> bytes:
        """Return what is still held of a stream that is over: a beginning that never got long enough, and the end."""
        if self._fault:
            return b""
        held = b""
        if self._may_begin and not wav.may_begin_wav(self._rest):
            self._may_begin = False
            held = self._converted(b"")
        return held + self._flushed()

    def _refuse(self, why: str) -> None:
        """Refuse what goes on with the last piece."""
        self._fault = why
        self._rest = self._tail = b""
        self._skipped = self._to_skip = 0

    def _begin(self) -> None:
        """Be ready for the beginning of a file."""
        self._rest, self._may_begin = b"", True
        self._skipped = self._to_skip = 0

    def _flushed(self) -> bytes:
        tail, self._tail = self._tail, b""
        if self._resampler is None:
            return tail
        end = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        self._resampler = soxr.ResampleStream(self._format.rate, SPEECH_RATE, 1, dtype="float32")
        return tail + pcm_of(end)

    def _read(self, data: bytes, rate: int, channels: int, bits: int) -> bytes:
        if (rate or channels or bits) and not self._has_header(data):
            known = self._format
            self._change(SoundFormat(rate or known.rate, channels or known.channels, bits or known.bits))
        pcm = bytearray()
        for _ in range(_MOST_FILES):
            if not data:
                return bytes(pcm)
            if self._may_begin or data.startswith(_BEGINS):
                data = self._after_header(data)
            sound, data = self._without_chunks(data)
            piece = self._converted(sound)
            tail, self._tail = self._tail, b""
            pcm += tail + piece
            if data:
                self._begin()
        if not data:
            return bytes(pcm)
        raise InvalidRequestError(
            f"a message with more than {_MOST_FILES} WAV files", field="audio", limit=Limit("wav_files", _MOST_FILES)
        )

    def _has_header(self, data: bytes) -> bool:
        """Say whether a WAV header tells the format of a piece, or begins with it."""
        if self._may_begin and data:
            return wav.may_begin_wav(self._rest + data)
        return self._header is not None or data.startswith(_BEGINS)

    def _after_header(self, data: bytes) -> bytes:
        """Return what follows a WAV header; nothing while it is not whole."""
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
        if not data:
            return b""
        begun = self._rest + data if self._may_begin else data
        self._may_begin = False
        self._rest = self._behind = b""
        self._header = None
        if not wav.may_begin_wav(begun):
            _refuse_files(begun)
            if may_be_framed(begun):
                self._rest, self._may_begin = begun, True
                return b""
            return begun
        header = wav.read_header(begun)
        if header is None:
            self._keep(begun)
            return b""
        found = header.format
        self._change(SoundFormat(found.rate, found.channels, found.bits, found.codec))
        self._header = replace(header, start=header.start + self._skipped)
        self._left, self._has_ended, self._skipped = header.length, False, 0
        return begun[header.start :]

    def _keep(self, begun: bytes) -> None:
        """Keep what matters of a WAV header that is not whole."""
        self._rest, self._to_skip = wav.without_asides(begun)
        self._may_begin = True
        self._skipped += len(begun) - len(self._rest) + self._to_skip
        if len(self._rest) > _MOST_KEPT:
            raise InvalidRequestError(f"a WAV header without a format in its first {_MOST_KEPT} bytes", field="audio")
        if self._skipped + len(self._rest) > wav.LONGEST_HEADER:
            raise InvalidRequestError("a WAV header without a data chunk", field="audio")

    def _without_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        """Return a piece without what follows the sound of a WAV file: names, pictures, marks; and a further file.

        A header that promises too little, as one that was never completed, is not believed: the sound goes on.
        """
        if self._has_ended or self._header is None:
            return b"" if self._has_ended else data, b""
        if self._left is None:
            return data, b""
        if len(data) <= self._left:
            self._left -= len(data)
            return data, b""
        sound, behind = data[: self._left], self._behind + data[self._left :]
        self._left = 0
        follows = self._header.is_followed_by_chunk(behind)
        if follows is None:
            self._behind = behind
            return sound, b""
        self._left, self._has_ended, self._behind = None, follows, b""
        if not follows:
            return sound + behind, b""
        return sound, next((behind[at:] for at in (0, 1) if behind.startswith(_BEGINS, at)), b"")

    def _change(self, to: SoundFormat) -> None:
        if to == self._format:
            return
        to.check()
        self._changes += 1
        if self._changes > _MOST_FORMATS:
            raise InvalidRequestError(
                f"a message that changes the format of its sound more than {_MOST_FORMATS} times",
                field="audio",
                limit=Limit("formats", _MOST_FORMATS),
            )
        self._tail = self._flushed()
        if not self._may_begin:
            self._rest = b""
        self._format = to
        self._has_ended = False
        self._mixer = MonoMixer(to.channels, to.rate)
        self._resampler = (
            None if to.rate == SPEECH_RATE else soxr.ResampleStream(to.rate, SPEECH_RATE, 1, dtype="float32")
        )

    def _converted(self, data: bytes) -> bytes:
        if self._may_begin:
            return b""
        found = self._format
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % found.frame_bytes
        self._rest = data[whole:]
        if found == SoundFormat():
            return data[:whole]
        self._converted_s += whole / self.bytes_per_second
        if not whole or self._converted_s > _MOST_S:
            return b""
        samples = self._mixer.mix(_frames(data[:whole], found))
        return pcm_of(self._resampler.resample_chunk(samples) if self._resampler else samples)


def _frames(data: bytes, found: SoundFormat) -> Frames:
    frames, _ = soundfile.read(
        io.BytesIO(data),
        dtype="float32",
        always_2d=True,
        samplerate=found.rate,
        channels=found.channels,
        format="RAW",
        subtype=found.subtype,
        endian="LITTLE",
    )
    return within_scale(frames)


def _refuse_files(data: bytes) -> None:
    """Refuse a file of another kind than WAV, of which a stream of pieces is not read."""
    if (kind := kind_of(data)) is not None:
        raise InvalidRequestError(
            f"this is {kind.name}, which is not read as a stream: send raw PCM or WAV, "
            "or the whole file as a recorded question (ai.voice.request)"
        )
