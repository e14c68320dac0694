"""One session's ear: windows of sound in, what happened out. No clock, no model, no I/O."""

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from itertools import takewhile

from deployments.listening.turn_taking import TurnEvidence, learned_pause_ms, turn_has_ended
from deployments.listening.voice_activity import QUIET, WINDOW_S, WINDOW_SAMPLES, Thresholds, VoiceActivity, follow
from deployments.settings.audio import AudioSettings

WINDOW_BYTES = 2 * WINDOW_SAMPLES
_WINDOW_MS = WINDOW_S * 1000
_QUIETEST_AMONG_MS = 4000
_SURE_WINDOWS = 3
_LEAD_WINDOWS = 3
_LOUDER = 3.0
_AUDIBLE = 0.005
_FLOOR_RISES = 0.02
"""How fast the level that counts as silence rises with the sound's level. It falls with it at once."""


class Event(Enum):
    """Something that a window of sound brought about."""

    BEGAN = auto()
    """An utterance has begun: `utterance` holds it from now on."""
    GREW = auto()
    """The utterance has grown by enough for a new partial transcript."""
    PAUSED = auto()
    """It is silent for long enough to begin the final transcript."""
    RESUMED = auto()
    """Speech goes on after such a pause."""
    FULL = auto()
    """The part is as long as it may be: take it by `cut_part`."""
    ENDED = auto()
    """The turn has ended: take the utterance by `finish`."""


class Listener:
    """What is heard in one session.

    Args:
        limits: The durations and thresholds.
    """

    __slots__ = (
        "_activity",
        "_confirmed",
        "_floor",
        "_grown_at",
        "_lead",
        "_levels",
        "_limits",
        "_paused_at",
        "_pre_roll",
        "_quiet",
        "_quiet_levels",
        "completion",
        "is_being_judged",
        "part",
        "transcript",
        "usual_pause_ms",
    )

    def __init__(self, limits: "ListeningLimits") -> None:
        self._limits = limits
        self._activity = QUIET
        self._confirmed = False
        self._floor = 0.0
        self._quiet_levels: deque[float] = deque(maxlen=_LEAD_WINDOWS)
        self._lead = 0
        self._quiet = limits.cut_short
        self._pre_roll = bytearray()
        self._levels: list[float] = []
        self._grown_at = 0
        self._paused_at = 0
        self.part = bytearray()
        """The utterance so far, or its last part, as PCM."""
        self.transcript = ""
        """What is known of its words, for the end of the turn."""
        self.completion: float | None = None
        """How finished it sounds, from 0 to 1; None where that is not known."""
        self.is_being_judged = False
        """Whether words and completion are on their way. They are waited for, for as long as the longest silence."""
        self.usual_pause_ms = 0.0
        """How long the speaker usually pauses in the middle of a turn."""

    @property
    def speech_ms(self) -> float:
        """How long the speech is, from its onset; 0 while it is not surely speech.

        The model needs a window or two before it is sure that somebody speaks. Windows right before those that were
        louder than the silence count as the voice's beginning, so that the speech is not taken for shorter than it is.
        """
        activity = self._activity
        if activity.voiced < _SURE_WINDOWS:
            return 0.0
        return (self._lead + activity.windows - activity.silence) * _WINDOW_MS

    @property
    def is_voiced(self) -> bool:
        """Whether the last window was one of speech."""
        return self._activity.speaking and not self._activity.silence

    @property
    def is_quiet(self) -> bool:
        """Whether nothing that was heard lately may be the beginning of an utterance, or a part of one."""
        return not self._activity.speaking

    @property
    def level(self) -> float:
        """How loud the speech is at its loudest of the last windows, as root mean square from 0 to 1."""
        return max(self._levels[-self._limits.level_windows :], default=0.0)

    def hear(self, pcm: bytes, probability: float, level: float) -> Iterator[Event]:
        """Take the next window and yield what happened in it.

        Args:
            pcm: 512 samples at 16 kHz.
            probability: That somebody speaks in them.
            level: How loud they are.
        """
        before = self._activity
        self._activity = activity = follow(before, probability, self._limits.thresholds)
        if not activity.speaking:
            self._remember(pcm, level)
            return
        if not before.speaking:
            self._lead = self._loud_windows()
            self.part = self._pre_roll
            self._pre_roll = bytearray()
        self.part += pcm
        self._levels.append(level)
        if not self._confirmed:
            if activity.silence >= self._limits.abandon:
                self._forget_part()
                return
            if activity.voiced < self._limits.min_speech:
                return
            self._confirmed = True
            if self._quiet + activity.silence < self._limits.cut_short:
                # The turn before was ended too soon.
                self._learn(self._quiet)
            yield Event.BEGAN
        yield from self._voiced(before) if not activity.silence else self._silent(activity)

    def cut_part(self, at: int) -> bytes:
        """Return the part up to `at` bytes; the rest is the beginning of the next one."""
        cut = bytes(self.part[:at])
        del self.part[:at]
        self._levels = self._levels[-(len(self.part) // WINDOW_BYTES) :] if self.part else []
        self._grown_at = self._paused_at = 0
        return cut

    def quietest(self) -> int:
        """Return the best place to cut a part that is too long, in bytes."""
        among = int(_QUIETEST_AMONG_MS / _WINDOW_MS)
        last = self._levels[-among:]
        behind = len(last) - min(range(len(last)), key=lambda at: last[at])
        return len(self.part) - behind * WINDOW_BYTES

    @property
    def paused_at(self) -> int:
        """Where the part paused last, in bytes; what is before it was concluded."""
        return self._paused_at

    @property
    def lasts_long(self) -> bool:
        """Whether the part was so long at its last pause that the words before the pause become a part of their own."""
        return self._paused_at >= self._limits.part

    @property
    def silence_s(self) -> float:
        """How long it has been silent since the last of the speech."""
        return self._activity.silence * WINDOW_S

    def prepend(self, pcm: bytes) -> None:
        """Put sound that was heard before in front of the part: the utterance goes on with it."""
        self.part = bytearray(pcm) + self.part
        if self._paused_at:
            self._paused_at += len(pcm)

    def finish(self) -> bytes:
        """Return the last part of the utterance, with some silence at its end, and listen for the next one."""
        silence = self._activity.silence
        silent = max(0, silence - self._limits.tail) * WINDOW_BYTES
        part = bytes(self.part[: len(self.part) - silent])
        self._forget_part()
        self._quiet = silence
        return part

    def _voiced(self, before: VoiceActivity) -> Iterator[Event]:
        if before.silence >= self._limits.conclude:
            self.completion = None
            self.is_being_judged = False
            self._learn(before.silence)
            yield Event.RESUMED
        if len(self.part) - self._grown_at >= self._limits.grown:
            self._grown_at = len(self.part)
            yield Event.GREW
        if len(self.part) >= self._limits.full:
            yield Event.FULL

    def _silent(self, activity: VoiceActivity) -> Iterator[Event]:
        if activity.silence == self._limits.conclude:
            self._paused_at = len(self.part)
            yield Event.PAUSED
        evidence = TurnEvidence(activity.silence * _WINDOW_MS, self.transcript, self.completion, self.usual_pause_ms)
        is_waited_for = self.is_being_judged and activity.silence < self._limits.cut_short
        if turn_has_ended(evidence, self._limits.turns) and not is_waited_for:
            yield Event.ENDED

    def _learn(self, pause: int) -> None:
        self.usual_pause_ms = learned_pause_ms(self.usual_pause_ms, pause * _WINDOW_MS)

    def _loud_windows(self) -> int:
        """Return how many windows right before this one were louder than the silence before them."""
        audible = max(_LOUDER * self._floor, _AUDIBLE)
        return sum(1 for _ in takewhile(lambda level: level > audible, reversed(self._quiet_levels)))

    def _remember(self, pcm: bytes, level: float) -> None:
        self._quiet += 1
        self._quiet_levels.append(level)
        self._floor = min(level, self._floor + _FLOOR_RISES * (level - self._floor))
        self._pre_roll += pcm
        if len(self._pre_roll) > self._limits.pre_roll:
            del self._pre_roll[: len(self._pre_roll) - self._limits.pre_roll]

    def _forget_part(self) -> None:
        self._pre_roll = self.part[-self._limits.pre_roll :]
        self.part = bytearray()
        self._levels = []
        self._activity = QUIET
        self._confirmed = False
        self._grown_at = self._paused_at = 0
        self.transcript = ""
        self.completion = None
        self.is_being_judged = False


class ListeningLimits:
    """The settings in windows and bytes: one for all sessions."""

    __slots__ = (
        "abandon",
        "conclude",
        "cut_short",
        "full",
        "grown",
        "level_windows",
        "min_speech",
        "part",
        "pre_roll",
        "tail",
        "thresholds",
        "turns",
    )

    def __init__(self, settings: AudioSettings) -> None:
        self.turns = turns = settings.turns
        activity = settings.voice_activity
        self.thresholds = Thresholds(activity.start_probability, activity.end_probability)
        self.min_speech = _windows(activity.min_speech_ms)
        self.abandon = _windows(activity.abandon_ms)
        self.pre_roll = _windows(activity.pre_roll_ms) * WINDOW_BYTES
        self.conclude = _windows(turns.conclude_after_ms)
        self.cut_short = _windows(turns.longest_silence_ms)
        self.tail = _windows(turns.tail_ms)
        self.part = _windows(turns.part_ms) * WINDOW_BYTES
        self.full = _windows(turns.max_part_ms) * WINDOW_BYTES
        self.grown = _windows(turns.partial_ms) * WINDOW_BYTES
        self.level_windows = _windows(settings.barge_in.min_speech_ms)


def _windows(milliseconds: float) -> int:
    return max(1, round(milliseconds / _WINDOW_MS))
