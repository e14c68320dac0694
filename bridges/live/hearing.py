"""What is heard in a session's windows of sound, and what follows from it: transcripts, interruptions."""

from collections.abc import Sequence

from bridges.live.client_messages import SessionState
from bridges.live.interruptions import Interruptions
from bridges.live.session import LiveSession
from bridges.live.transcripts import LiveTranscripts
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from deployments.listening.turn_taking import interrupts
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.settings.audio import BargeInSettings
from deployments.values.sound import Samples, level_of, samples_of


class Hearing:
    """Hears all sessions of a replica.

    Args:
        activity: Tells speech from other sound.
        transcripts: Are made of what is said.
        interruptions: Stop what is spoken into.
        work: Knows what is being played to a session.
        barge_in: What interrupts an answer.
    """

    def __init__(
        self,
        activity: VoiceActivityEngine,
        transcripts: LiveTranscripts,
        interruptions: Interruptions,
        work: SessionWork,
        barge_in: BargeInSettings,
    ) -> None:
        self._activity = activity
        self._transcripts = transcripts
        self._interruptions = interruptions
        self._work = work
        self._barge_in = barge_in

    def probabilities(self, sessions: Sequence[LiveSession], windows: Sequence[Samples]) -> list[float]:
        """Return how probable it is that somebody speaks in the next window of each of some sessions.

        Args:
            sessions: Each at most once.
            windows: As `centred` returns them.
        """
        raised = [session.level.raised(window) for session, window in zip(sessions, windows, strict=True)]
        return self._activity.probabilities([session.voice for session in sessions], raised)

    def hear(self, session: LiveSession, window: bytes, samples: Samples, probability: float) -> None:
        """Take a session's next window.

        Args:
            session: Whose.
            window: As PCM.
            samples: The same, as `centred` returns it.
            probability: That somebody speaks in it.
        """
        if session.is_closed:
            return
        session.progress.heard += len(window)
        listener = session.listener
        for event in listener.hear(window, probability, level_of(samples)):
            self._transcripts.react(session, event)
        if session.state is SessionState.RESPONDING and listener.is_voiced:
            playing = self._work.playback_level(session.id, now())
            if interrupts(listener.speech_ms, listener.level, playing, self._barge_in):
                self._interruptions.begin(session)

    def finish(self, session: LiveSession) -> None:
        """Take what is being said in a session as ended: no more of its sound comes."""
        if window := session.queue.last_window():
            samples = centred(session, window)
            [probability] = self.probabilities([session], [samples])
            for event in session.listener.hear(window, probability, level_of(samples)):
                self._transcripts.react(session, event)
        if session.utterance is not None:
            self._transcripts.finish(session, session.utterance)


def centred(session: LiveSession, window: bytes) -> Samples:
    """Return the samples of a session's next window, without the offset of its sound."""
    return session.level.centred(samples_of(window))
