"""Speech that a server sends while it is still being made, cut into pieces that hold whole words."""

import re
import struct
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from deployments.engines.speaking.word_times import WordsInPieces
from deployments.values.sound import BYTES_PER_SAMPLE, samples_of
from deployments.values.speech import SpokenChunk

_PIECE_S = 0.4
"""Shorter pieces cost more messages than they save time."""
_LAST_S = 0.02
_RATE_HEADERS = ("X-Sample-Rate", "X-Audio-Sample-Rate", "Sample-Rate")
_RATE = re.compile(r"\brate=(\d+)")
_FILE_TYPES = re.compile(r"audio/(?:x-|vnd\.)?(?:wave?|mpeg|mp3|ogg|opus|flac|aac)\b|application/json|text/")
_WAV = b"RIFF"
_FILE_MARKS = (b"RIFX", b"RF64", b"OggS", b"fLaC", b"ID3")
_MARK_BYTES = 4
_LONGEST_HEADER = 4096
_LINEAR = 1
_UNKNOWN_LENGTHS = range(0x7FFFFFFF, 1 << 32)
"""What a header promises that was written before its sound."""


@dataclass(frozen=True, slots=True)
class SoundForm:
    """In which form an answer holds sound.

    Attributes:
        rate: Samples a second of its 16-bit little-endian mono PCM; 0 where it has to be decoded as a whole.
        start: Where the sound begins, in bytes.
        length: How many bytes of sound there are; None for all that come.
    """

    rate: int
    start: int = 0
    length: int | None = None


WHOLE_FILE = SoundForm(0)


def form_of(headers: Mapping[str, str], beginning: bytes, sample_rate: int) -> SoundForm | None:
    """Return the form of an answer; None where more of its beginning has to be seen.

    Args:
        headers: Of the answer.
        beginning: Of its body.
        sample_rate: Samples a second of bare PCM whose headers do not tell it; 0 where nobody knows.
    """
    if len(beginning) < _MARK_BYTES:
        return None
    if beginning.startswith(_WAV):
        return _wav_form(beginning)
    if beginning.startswith(_FILE_MARKS) or _FILE_TYPES.match(headers.get("Content-Type", "").lower()):
        return WHOLE_FILE
    return SoundForm(_told_rate(headers) or sample_rate)


async def spoken_pieces(pcm: AsyncGenerator[bytes], rate: int, words: WordsInPieces) -> AsyncGenerator[SpokenChunk]:
    """Yield a sentence as its sound comes.

    Args:
        pcm: 16-bit little-endian mono PCM, cut anywhere.
        rate: Samples a second.
        words: Of the sentence.
    """
    held = b""
    # Something is left for the last piece, which has the last word.
    kept = BYTES_PER_SAMPLE * int(_LAST_S * rate)
    async for piece in pcm:
        held += piece
        end = (len(held) - kept) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        seconds = end / (BYTES_PER_SAMPLE * rate)
        if seconds >= _PIECE_S and words.are_heard_in(seconds):
            yield _chunk(held[:end], rate, words, is_last=False)
            held = held[end:]
    yield _chunk(held[: len(held) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE], rate, words, is_last=True)


def _chunk(pcm: bytes, rate: int, words: WordsInPieces, *, is_last: bool) -> SpokenChunk:
    text, times = words.taken(samples_of(pcm), rate, is_last=is_last)
    return SpokenChunk(pcm, rate, text, times)


def _told_rate(headers: Mapping[str, str]) -> int:
    """Return the samples a second that the headers of an answer tell; 0 where they tell none."""
    told = [headers.get(name, "") for name in _RATE_HEADERS]
    told += _RATE.findall(headers.get("Content-Type", "").lower())
    return next((int(rate) for rate in told if rate.isdecimal()), 0)


def _wav_form(beginning: bytes) -> SoundForm | None:
    """Return the form of a WAV file; None where its header is not whole."""
    at, rate = 12, 0
    while at + 8 <= min(len(beginning), _LONGEST_HEADER):
        name, size = struct.unpack_from("<4sI", beginning, at)
        at += 8
        if name == b"data":
            length = None if size == 0 or size in _UNKNOWN_LENGTHS else size
            return SoundForm(rate, at, length) if rate else WHOLE_FILE
        if name == b"fmt " and len(beginning) >= at + 16:
            codec, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", beginning, at)
            if (codec, channels, bits) != (_LINEAR, 1, 8 * BYTES_PER_SAMPLE):
                return WHOLE_FILE
        at += size + size % 2
    return None if at < _LONGEST_HEADER else WHOLE_FILE
