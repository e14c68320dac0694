"""When a turn has ended, and when speech interrupts: functions over frozen values, without clock, model or I/O."""

from dataclasses import dataclass

from deployments.listening.dictation import is_dictating
from deployments.settings.audio import BargeInSettings, TurnSettings
from deployments.text.words import bare

_UNFINISHED_WORDS = frozenset(
    "a an and are as at because but by for from if in into is like my of on or our so than that the their then this "
    "to uh um was were when where which while who will with would your".split()
)
"""Words that hardly any English sentence ends with. Nothing is assumed about other languages."""
_HABIT_MARGIN = 1.3
_HABIT_FORGETS = 0.9


@dataclass(frozen=True, slots=True)
class TurnEvidence:
    """What is known when somebody has fallen silent.

    Attributes:
        silence_ms: How long.
        transcript: What they said so far; empty where it is not known yet.
        completion: Probability from 0 to 1 that they have finished, as it sounds; None where it is not known yet.
        usual_pause_ms: How long they usually pause in the middle of a turn; 0 where nothing was learned yet.
    """

    silence_ms: float
    transcript: str = ""
    completion: float | None = None
    usual_pause_ms: float = 0.0


def patience_ms(evidence: TurnEvidence, settings: TurnSettings) -> float:
    """Return how long a silence has to last to end the turn."""
    sounds = _by_sound(evidence.completion, settings)
    habit = min(evidence.usual_pause_ms * _HABIT_MARGIN, settings.longest_silence_ms)
    if _last_word(evidence.transcript) in _UNFINISHED_WORDS or is_dictating(evidence.transcript):
        return max(sounds, settings.longest_silence_ms)
    return max(sounds, habit)


def turn_has_ended(evidence: TurnEvidence, settings: TurnSettings) -> bool:
    """Say whether the silence is long enough."""
    return evidence.silence_ms >= patience_ms(evidence, settings)


def learned_pause_ms(usual_ms: float, pause_ms: float) -> float:
    """Return how long somebody usually pauses in a turn, given one more pause that did not end it.

    A longer pause counts at once. Shorter pauses lower the value slowly.
    """
    return max(pause_ms, usual_ms * _HABIT_FORGETS)


def interrupts(speech_ms: float, level: float, playback_level: float, settings: BargeInSettings) -> bool:
    """Say whether speech interrupts an answer.

    Args:
        speech_ms: How long the speech is so far.
        level: How loud it is, as root mean square from 0 to 1.
        playback_level: The same of what is being played to the speaker; 0 where that is not known.
        settings: The bounds.
    """
    return speech_ms >= settings.min_speech_ms and level >= playback_level * settings.echo_ratio


def _by_sound(completion: float | None, settings: TurnSettings) -> float:
    if completion is None:
        return settings.silence_ms
    if completion >= settings.finished_at:
        return settings.shortest_silence_ms
    if completion <= settings.unfinished_at:
        return settings.longest_silence_ms
    share = (settings.finished_at - completion) / (settings.finished_at - settings.unfinished_at)
    return settings.shortest_silence_ms + share * (settings.longest_silence_ms - settings.shortest_silence_ms)


def _last_word(transcript: str) -> str:
    return bare(transcript.rsplit(None, 1)[-1]) if transcript.strip() else ""
