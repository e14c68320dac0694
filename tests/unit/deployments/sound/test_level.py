"""The level of speech, before models hear it."""

import numpy as np
import pytest

from deployments.sound.level import LevelControl, levelled
from deployments.values.sound import Samples, level_of
from tests.sound_files import tone

WINDOW = 512


def decibels(value: float) -> float:
    return 20 * float(np.log10(value))


def raised(sound: Samples) -> list[Samples]:
    control = LevelControl()
    windows = [sound[at : at + WINDOW] for at in range(0, len(sound) - WINDOW + 1, WINDOW)]
    return [control.raised(control.centred(window)) for window in windows]


def noise(seconds: float, level: float) -> Samples:
    return np.random.default_rng(2).normal(0, level, int(16_000 * seconds)).astype(np.float32)


def words(seconds: float, peak: float) -> Samples:
    """Return a voice that says a word of a quarter of a second, then nothing for as long."""
    sound = tone(seconds, peak=peak)
    return sound * (np.arange(len(sound)) // 4000 % 2 == 0).astype(np.float32)


class TestWholeUtterances:
    @pytest.mark.parametrize("peak_db", [-60, -50, -30, -20])
    def test_what_is_quiet_gets_the_peak_of_ordinary_speech(self, peak_db: float) -> None:
        quiet = tone(peak=10 ** (peak_db / 20))
        assert decibels(float(np.abs(levelled(quiet)).max())) == pytest.approx(-10.5, abs=0.5)

    def test_what_is_loud_enough_stays_as_it_is(self) -> None:
        loud = tone(peak=0.9)
        assert levelled(loud) == pytest.approx(loud, abs=1e-3)

    def test_an_offset_is_taken_away(self) -> None:
        shifted = tone(peak=0.05) + np.float32(0.4)
        assert float(levelled(shifted).mean()) == pytest.approx(0.0, abs=1e-3)
        assert float(np.abs(levelled(shifted)).max()) == pytest.approx(0.3, abs=0.01)

    def test_a_click_does_not_keep_a_voice_quiet(self) -> None:
        clicked = tone(peak=0.003)
        clicked[100] = 1.0
        assert float(np.quantile(np.abs(levelled(clicked)), 0.99)) == pytest.approx(0.3, abs=0.01)

    @pytest.mark.parametrize("seconds", [0.02, 0.3, 2.0])
    @pytest.mark.parametrize("quiet_db", [-40, -50])
    @pytest.mark.parametrize("gap_s", [0.0, 0.2])
    def test_a_loud_sound_does_not_keep_the_quiet_voice_beside_it_quiet(
        self, seconds: float, quiet_db: float, gap_s: float
    ) -> None:
        loud, gap = tone(seconds), np.zeros(int(16_000 * gap_s), np.float32)
        voice = words(4.0, 10 ** (quiet_db / 20))
        for sound, at in (
            (np.concatenate([loud, gap, voice]), len(loud) + len(gap)),
            (np.concatenate([voice, gap, loud]), 0),
            (np.concatenate([voice, gap, loud, gap, voice]), len(voice) + len(loud) + 2 * len(gap)),
        ):
            heard = levelled(sound)
            spoken = heard[at + 1600 : at + len(voice) - 1600]
            assert decibels(float(np.quantile(np.abs(spoken), 0.999))) == pytest.approx(-10.5, abs=2.0)
            assert float(np.abs(heard).max()) <= 1.0

    def test_a_loud_sound_stays_as_it_is_beside_a_quiet_voice(self) -> None:
        heard = levelled(np.concatenate([tone(1.0), words(4.0, 0.003)]))
        assert heard[:16_000] == pytest.approx(tone(1.0), abs=2e-3)

    @pytest.mark.parametrize("level", [1e-4, 1e-3, 3e-3])
    def test_noise_between_words_is_not_raised_to_the_level_of_a_voice(self, level: float) -> None:
        loud = words(4.0, 0.5)
        sound = np.concatenate([loud, np.zeros(48_000, np.float32), loud]) + noise(11.0, level)
        heard = levelled(sound)
        assert level_of(heard[len(loud) : len(loud) + 48_000]) < max(0.004, 1.1 * level)

    @pytest.mark.parametrize("sound", [np.zeros(0, np.float32), np.zeros(1000, np.float32)], ids=["nothing", "silence"])
    def test_there_may_be_no_sound(self, sound: Samples) -> None:
        assert levelled(sound).tolist() == sound.tolist()


class TestStreams:
    @pytest.mark.parametrize("peak_db", [-50, -40, -30])
    def test_a_quiet_voice_is_raised_from_its_first_window(self, peak_db: float) -> None:
        voice = np.tile(np.concatenate([tone(0.2, peak=10 ** (peak_db / 20)), np.zeros(1280, np.float32)]), 10)
        sound = np.concatenate([noise(1.0, 1e-4), voice + noise(2.8, 1e-4)])
        windows = raised(sound)[33:]
        assert max(level_of(window) for window in windows[:6]) > 0.03
        assert np.mean([level_of(window) > 0.02 for window in windows]) > 0.6

    def test_a_loud_voice_lowers_the_gain_at_once_and_is_never_clipped(self) -> None:
        sound = np.concatenate([np.zeros(16_000, np.float32), tone(peak=0.5)])
        assert max(float(np.abs(window).max()) for window in raised(sound)) <= 0.51

    def test_a_pause_of_a_loud_voice_raises_nothing(self) -> None:
        sound = np.concatenate([tone(peak=0.5), noise(1.0, 1e-3)])
        assert max(level_of(window) for window in raised(sound)[66:]) < 2e-3

    @pytest.mark.parametrize("level", [1e-4, 1e-3, 1e-2])
    def test_noise_is_never_raised_to_the_level_of_a_voice(self, level: float) -> None:
        assert max(level_of(window) for window in raised(noise(20.0, level))) <= max(0.004, 1.2 * level)

    def test_an_offset_is_no_sound(self) -> None:
        sound = np.full(16_000, 0.3, np.float32)
        assert max(level_of(window) for window in raised(sound)) == pytest.approx(0.0, abs=1e-6)
