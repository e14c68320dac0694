"""Sound files of every kind that people have: what is heard of them, and what is said of those that are not read."""

import builtins
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.errors import InvalidRequestError
from deployments.sound.recording import open_recording
from deployments.values.sound import Samples
from tests.refusals import refused
from tests.sound_files import as_a_browser_records, as_safari_records, encoded, filled_up, tone, with_sizes, written

RATE = 16_000
SOUND = tone()
WAV = written(SOUND, "WAV", "PCM_16")


def heard(source: bytes | Path) -> tuple[Samples, int]:
    with open_recording(source) as recording:
        blocks = list(recording.blocks)
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), recording.rate


def seconds_and_peak(source: bytes | Path) -> tuple[float, float]:
    samples, rate = heard(source)
    return len(samples) / rate, float(np.abs(samples).max(initial=0.0))


def is_whole(source: bytes | Path, *, within: float = 0.06) -> bool:
    seconds, loudest = seconds_and_peak(source)
    return seconds == pytest.approx(2.0, abs=0.1) and loudest == pytest.approx(0.5, abs=within)


class TestWav:
    @pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
    @pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 36, 500])
    def test_all_of_it_is_heard_whatever_its_header_promises(
        self, container: str, subtype: str, size: int | None
    ) -> None:
        file = written(SOUND, container, subtype)
        assert is_whole(file if size is None else with_sizes(file, size))

    @pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
    @pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF])
    def test_what_is_packed_in_blocks_is_heard(self, subtype: str, size: int | None) -> None:
        file = written(SOUND, "WAV", subtype)
        assert is_whole(file if size is None else with_sizes(file, size))

    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
    def test_a_long_file_of_which_the_length_was_never_written(self, size: int) -> None:
        file = bytearray(with_sizes(written(SOUND, "RF64", "PCM_16"), 0xFFFFFFFF))
        at = file.index(b"ds64")
        struct.pack_into("<QQ", file, at + 8, size, size)
        assert is_whole(bytes(file))

    def test_its_chunks_may_stand_in_any_order(self) -> None:
        before = struct.pack("<4sI", b"LIST", 27) + b"INFOISFT" + bytes(20)
        behind = struct.pack("<4sI", b"id3 ", 5000) + b"ID3" + b"\x7f" * 4997
        assert is_whole(WAV[:12] + before + WAV[12:])
        assert is_whole(WAV + behind)
        assert seconds_and_peak(WAV + behind)[1] == pytest.approx(0.5, abs=0.01)
        assert is_whole(WAV[:12] + WAV[36:] + WAV[12:36])

    def test_of_a_file_that_is_cut_off_what_is_there_is_heard(self) -> None:
        assert seconds_and_peak(WAV[: len(WAV) // 2 + 1])[0] == pytest.approx(1.0, abs=0.01)

    @pytest.mark.parametrize(("bits", "room"), [(24, 32), (20, 24), (20, 32), (12, 16)])
    @pytest.mark.parametrize("is_extensible", [False, True], ids=["plain", "extensible"])
    def test_samples_that_do_not_fill_their_room_are_heard(self, bits: int, room: int, is_extensible: bool) -> None:
        file = filled_up(SOUND, bits, room, is_extensible=is_extensible)
        assert heard(file)[0] == pytest.approx(SOUND, abs=1e-3)
        assert heard(with_sizes(file, 0))[0] == pytest.approx(SOUND, abs=1e-3)

    def test_samples_that_are_no_numbers_are_silent(self) -> None:
        wild = SOUND.copy()
        wild[::1000], wild[1::1000] = np.nan, np.inf
        assert np.isfinite(heard(written(wild, "WAV", "FLOAT"))[0]).all()

    @pytest.mark.parametrize(
        ("file", "named"),
        [
            (WAV[:30], "ends within its header"),
            (b"RIFF\0\0\0\0WAVE", "ends within its header"),
            (WAV[:12] + WAV[36:40] + bytes(4) + WAV[44:], "without a format"),
            (WAV[:20] + struct.pack("<H", 0x0065) + WAV[22:], "G.722 ADPCM"),
            (WAV[:20] + struct.pack("<H", 0x4242) + WAV[22:], "0x4242"),
            (WAV.replace(b"RIFF", b"RIFX"), "RIFX"),
        ],
        ids=["cut in its header", "a header alone", "no format", "G.722", "an unknown codec", "big-endian"],
    )
    def test_what_cannot_be_read_is_named(self, file: bytes, named: str) -> None:
        with pytest.raises(InvalidRequestError, match=named):
            heard(file)


CONTAINERS: dict[str, Callable[[], bytes]] = {
    "WebM as browsers make it": lambda: as_a_browser_records(tone(rate=48_000)),
    "WebM": lambda: encoded(tone(rate=48_000), "webm", "libopus"),
    "M4A": lambda: encoded(tone(rate=48_000), "ipod", "aac"),
    "M4A as Safari makes it": lambda: as_safari_records(tone(rate=48_000)),
    "M4A without loss": lambda: encoded(tone(rate=48_000), "ipod", "alac"),
    "bare AAC": lambda: encoded(tone(rate=48_000), "adts", "aac"),
    "AMR": lambda: encoded(tone(rate=8_000), "amr", "libopencore_amrnb", 8_000),
    "3GP": lambda: encoded(tone(rate=8_000), "3gp", "libopencore_amrnb", 8_000),
    "Windows Media Audio": lambda: encoded(tone(rate=48_000), "asf", "wmav2"),
    "Ogg with Opus": lambda: written(tone(rate=48_000), "OGG", "OPUS", 48_000),
    "Ogg with Vorbis": lambda: written(SOUND, "OGG", "VORBIS"),
    "MP3": lambda: written(SOUND, "MP3", "MPEG_LAYER_III"),
    "FLAC": lambda: written(SOUND, "FLAC", "PCM_24"),
    "AIFF": lambda: written(SOUND, "AIFF", "PCM_16"),
    "AU": lambda: written(SOUND, "AU", "ULAW"),
    "Core Audio": lambda: written(SOUND, "CAF", "PCM_16"),
}
ONLY_BY_FFMPEG = {
    "WebM as browsers make it": r"WebM \(Opus\)",
    "M4A": r"M4A or MP4 \(AAC\)",
    "M4A as Safari makes it": r"M4A or MP4 \(AAC\)",
    "M4A without loss": r"M4A or MP4 \(ALAC\)",
    "bare AAC": "AAC",
    "AMR": "AMR",
    "3GP": r"3GP \(AMR\)",
    "Windows Media Audio": "Windows Media Audio",
}


class TestOtherKinds:
    @pytest.mark.parametrize("kind", CONTAINERS)
    def test_are_heard(self, kind: str) -> None:
        assert is_whole(CONTAINERS[kind](), within=0.2)

    @pytest.mark.parametrize("kind", CONTAINERS)
    def test_are_heard_from_a_file(self, kind: str, tmp_path: Path) -> None:
        file = tmp_path / "recording"
        file.write_bytes(CONTAINERS[kind]())
        assert is_whole(file, within=0.2)

    @pytest.mark.parametrize("kind", set(CONTAINERS) - {"M4A", "M4A without loss", "3GP", "Core Audio"})
    def test_of_a_file_that_is_cut_off_what_is_there_is_heard_or_it_is_refused(self, kind: str) -> None:
        whole = CONTAINERS[kind]()
        # Either is right: what can be said of it depends on where its tables stand.
        try:
            seconds, _ = seconds_and_peak(whole[: len(whole) * 2 // 3])
        except InvalidRequestError as error:
            assert any(told in error.message for told in (*kind.split()[:1], "no sound"))  # noqa: PT017 - as above
        else:
            assert 0.3 < seconds < 1.9

    @pytest.mark.parametrize(("kind", "name"), ONLY_BY_FFMPEG.items())
    def test_are_refused_by_name_where_ffmpeg_is_missing(
        self, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = CONTAINERS[kind]()
        imported = builtins.__import__

        def without_ffmpeg(module: str, *rest: Any, **named: Any) -> Any:
            if module == "av":
                raise ImportError(module)
            return imported(module, *rest, **named)

        monkeypatch.setattr(builtins, "__import__", without_ffmpeg)
        with pytest.raises(InvalidRequestError, match=rf"this is {name}.*send WAV"):
            heard(file)

    @pytest.mark.parametrize("kind", ["WAV", "FLAC", "Ogg with Opus", "Ogg with Vorbis", "MP3"])
    @pytest.mark.parametrize("is_on_disk", [False, True], ids=["bytes", "a file"])
    def test_all_files_that_were_put_into_one_are_heard(self, kind: str, is_on_disk: bool, tmp_path: Path) -> None:
        one = WAV if kind == "WAV" else CONTAINERS[kind]()
        file = tmp_path / "joined"
        file.write_bytes(one * 3)
        samples, rate = heard(file if is_on_disk else one * 3)
        assert len(samples) / rate == pytest.approx(6.0, abs=0.3)
        assert float(np.abs(samples[-rate:]).max()) == pytest.approx(0.5, abs=0.1)

    @pytest.mark.parametrize("kind", ["FLAC", "MP3", "bare AAC"])
    def test_a_tag_in_front_is_passed_over(self, kind: str) -> None:
        assert is_whole(b"ID3\4\0\0\0\0\1\0" + bytes(128) + CONTAINERS[kind](), within=0.2)

    def test_a_further_file_at_another_rate_is_heard_at_that_of_the_first(self) -> None:
        samples, rate = heard(WAV + written(tone(rate=44_100), "WAV", "PCM_16", 44_100))
        assert (rate, len(samples)) == (RATE, pytest.approx(64_000, abs=4))

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
    def test_a_file_that_is_cut_off_ends_there_and_not_in_silence(self, share: float) -> None:
        file = CONTAINERS["FLAC"]()
        samples, rate = heard(file[: int(share * len(file))])
        assert float(np.abs(samples[-rate // 10 :]).max()) == pytest.approx(0.5, abs=0.05)

    def test_what_follows_damage_in_a_file_is_heard(self) -> None:
        sound = tone(12.0) * np.random.default_rng(1).uniform(0.9, 1.0, 12 * RATE).astype(np.float32)
        file = bytearray(written(sound, "FLAC", "PCM_16"))
        half = len(file) // 2
        file[half : half + 200] = bytes(byte ^ 0x55 for byte in file[half : half + 200])
        samples, _ = heard(bytes(file))
        assert len(samples) == len(sound)
        assert samples[-4 * RATE :] == pytest.approx(sound[-4 * RATE :], abs=1e-3)

    def test_a_list_of_other_files_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "secret.wav").write_bytes(WAV)
        listed = f"#EXTM3U\n#EXTINF:10,\nfile://{tmp_path}/secret.wav\n".encode()
        for file in (listed, b"\x1aE\xdf\xa3" + listed, b"\0\0\0\x18ftypM4A " + listed):
            with refused(InvalidRequestError, field="audio"):
                heard(file)

    @pytest.mark.parametrize(
        "file",
        [b"", b"\x1aE\xdf\xa3", b"\0\0\0\x18ftypM4A ", b"OggS", b"fLaC", b"ID3\x04", b"#!AMR\n", b"%PDF-1.7\n" * 99],
    )
    def test_a_beginning_alone_is_refused(self, file: bytes) -> None:
        with refused(InvalidRequestError, field="audio"):
            heard(file)

    def test_a_file_without_a_sample_is_refused(self) -> None:
        with pytest.raises(InvalidRequestError, match="no sound"):
            heard(written(np.zeros(0, np.float32), "WAV", "PCM_16"))

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "empty.wav"
        file.touch()
        with refused(InvalidRequestError, field="audio"):
            heard(file)


def stereo(left: NDArray[np.float32], right: NDArray[np.float32]) -> bytes:
    return written(np.stack([left, right], axis=1), "WAV", "FLOAT")


class TestChannels:
    SILENT = np.zeros_like(SOUND)

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            (SOUND, SOUND),
            (SOUND, -SOUND),
            (SOUND, SILENT),
            (SILENT, SOUND),
            (SOUND, SILENT + np.float32(0.4)),
            (-SOUND, SOUND * np.float32(0.02)),
        ],
        ids=["same", "mirrored", "right is dead", "left is dead", "right is an offset alone", "right is nearly dead"],
    )
    def test_the_voice_keeps_its_level(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
        samples, _ = heard(stereo(left, right))
        assert float(np.abs(samples).max()) == pytest.approx(0.5, abs=0.03)

    def test_two_people_on_a_channel_each_are_both_heard(self) -> None:
        half = len(SOUND) // 2
        left, right = SOUND.copy(), tone(peak=0.3)
        left[half:], right[:half] = 0, 0
        samples, _ = heard(stereo(left, right))
        assert float(np.abs(samples[half - 4000 : half]).max()) >= 0.2
        assert float(np.abs(samples[half + 4000 :]).max()) >= 0.14

    def test_one_voice_of_six_channels_keeps_its_level(self) -> None:
        frames = np.zeros((len(SOUND), 6), np.float32)
        frames[:, 2] = SOUND
        samples, _ = heard(written(frames, "WAV", "FLOAT"))
        assert float(np.abs(samples).max()) == pytest.approx(0.5, abs=0.01)

    def test_a_channel_that_dies_makes_no_click(self) -> None:
        right = SOUND.copy()
        right[len(right) // 2 :] = 0
        samples, _ = heard(stereo(SOUND, right))
        assert float(np.abs(np.diff(samples)).max()) < 2 * float(np.abs(np.diff(SOUND)).max())


def test_all_of_a_recording_at_another_rate() -> None:
    with open_recording(WAV) as recording:
        assert len(recording.whole_pcm(8000)) == 32_000


def test_a_header_of_more_channels_than_a_frame_can_have_is_refused() -> None:
    form = struct.pack("<HHIIHH", 1, 60_000, 16_000, 0, 0, 16)
    body = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"data", 0) + bytes(1000)
    with refused(InvalidRequestError, field="audio"), open_recording(b"RIFF" + struct.pack("<I", 0) + body):
        pass
