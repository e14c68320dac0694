"""Transcripts of what is being said: partial ones twice a second, the final one as soon as the turn has ended.

The final transcript is begun when somebody falls silent, before it is sure that they have ended: when it is, the
transcript is there. Where they go on, it is thrown away, or, of a long utterance, kept as that of a part.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.clients import SessionClients
from bridges.live.listening_line import ListeningLine
from bridges.live.metrics import AudioMetrics
from bridges.live.session import LiveSession
from bridges.live.tasks import Spawn
from bridges.live.turn import Turn
from bridges.live.utterance import Concluding, LiveUtterance
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from deployments.call import Call
from deployments.errors import HearthError, InternalError
from deployments.listening.listener import Event
from deployments.listening.settling import settled
from deployments.services import TranscriptionService
from deployments.settings.audio import AudioSettings
from deployments.values.sound import seconds_of
from deployments.values.speech import Agreement, TurnEnding, Utterance

logger = logging.getLogger(__name__)

_BYTES_PER_S = 32_000
_BEFORE_SPEECH_BYTES = 10_240
_TELLS_LANGUAGE_S = 2.0
"""Sound from which its language can be told, silence around the voice included."""


class LiveTranscripts:
    """The transcripts of the sessions of one replica.

    Args:
        settings: How long a transcript may take.
        longest_part: Bytes of sound that are transcribed in one piece at most.
        transcription: Finds the words.
        work: Knows the sessions' epochs.
        metrics: Counts.
        spawn: Starts a task that the ingress owns.
        clients: Hear of the transcripts.
        line: Where a session goes on being listened to that had too many transcripts on their way.
        tell_soon: Has the other replicas told at once of what has changed in a session.
    """

    def __init__(
        self,
        settings: AudioSettings,
        longest_part: int,
        transcription: TranscriptionService,
        work: SessionWork,
        metrics: AudioMetrics,
        spawn: Spawn,
        clients: SessionClients,
        line: ListeningLine,
        tell_soon: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._longest_part = longest_part
        self._transcription = transcription
        self._work = work
        self._metrics = metrics
        self._spawn = spawn
        self._clients = clients
        self._line = line
        self._tell_soon = tell_soon

    def react(self, session: LiveSession, event: Event) -> None:
        """Do what follows from what a session's listener has heard."""
        utterance = session.utterance
        if event is Event.BEGAN:
            self._begin(session)
            return
        if utterance is None:
            return
        listener = session.listener
        match event:
            case Event.GREW if utterance.hearing is None and session.is_addressed:
                utterance.hearing = self._spawn(self._partial(session, utterance, bytes(listener.part)))
            case Event.PAUSED if session.is_addressed:
                utterance.conclusion = self._conclude(session, utterance, bytes(listener.part), judge_turn=True)
                listener.is_being_judged = True
            case Event.RESUMED:
                self._resume(session, utterance)
            case Event.FULL if session.is_addressed:
                part = listener.cut_part(listener.quietest())
                self._part_ends(session, utterance, self._conclude(session, utterance, part, judge_turn=False))
            case Event.FULL:
                listener.cut_part(listener.quietest())
            case Event.ENDED:
                self.finish(session, utterance)
            case _:
                pass

    def finish(self, session: LiveSession, utterance: LiveUtterance) -> None:
        """Take an utterance as said, and have its final transcript published behind the one before it."""
        speech_ended_at = now() - session.listener.silence_s
        completion = session.listener.completion
        # What comes next may begin in the silence.
        session.said_until = heard = session.progress.heard - min(
            round(session.listener.silence_s * _BYTES_PER_S), _BEFORE_SPEECH_BYTES
        )
        part = session.listener.finish()
        session.utterance = None
        if utterance.hearing is not None:
            utterance.hearing.cancel()
        if not session.is_addressed:
            utterance.cancel()
            session.progress.settle(heard)
            return
        last = utterance.conclusion or self._conclude(session, utterance, part, judge_turn=False)
        utterance.conclusion = None
        utterance.parts.append(last)
        session.counts.utterances += 1
        turn = None
        if (conversation := session.conversation) is not None:
            turn = conversation.next_turn(speech_ended_at, utterance.reopened)
            turn.pcm, turn.is_one_part = part, len(utterance.parts) == 1
            if completion is not None:
                turn.decisions["completion"] = f"{completion:.2f}"
        session.final = self._spawn(self._final(session, utterance, session.final, turn, heard))

    def reopen(self, session: LiveSession, utterance: LiveUtterance, turn: Turn) -> None:
        """Let an utterance go on with the question of a turn that was taken as ended too soon."""
        session.reopened = None
        utterance.reopened = turn
        if session.conversation is not None:
            session.conversation.goes_on_with(turn)
        if turn.is_one_part and len(turn.pcm) + len(session.listener.part) <= self._longest_part:
            session.listener.prepend(turn.pcm)
            return
        # Too long to be transcribed again: its transcript goes before what is said now.
        utterance.parts.insert(0, self._spawn(_known(turn.question)))
        utterance.said_before = turn.question

    async def publish(self, session: LiveSession, transcript: messages_pb2.STTTranscription) -> None:
        """Send a transcript to a session's clients; all but its words is filled in here.

        Raises:
            UnavailableError: Another replica may have taken the session over, and that was not known in time.
        """
        await self._clients.until_allowed()
        if session.is_closed:
            return
        transcript.session_id = session.id
        transcript.sequence = session.next_sequence()
        transcript.timestamp = int(time.time())
        transcript.speaker_id = session.speaker_id
        transcript.state = session.state
        transcript.epoch = self._work.epoch(session.id)
        if transcript.is_final:
            _note_loss(session, transcript)
            session.last_final = transcript
        await self._clients.tell(session.id, transcript)

    def _begin(self, session: LiveSession) -> None:
        session.utterance = LiveUtterance(began_at=now() - session.listener.speech_ms / 1000)
        if session.conversation is not None and session.is_addressed:
            session.conversation.begins()
        if session.reopened is not None:
            self.reopen(session, session.utterance, session.reopened)

    def _resume(self, session: LiveSession, utterance: LiveUtterance) -> None:
        """Take what was concluded in a pause, and what was made of it, as in vain, or as that of a part."""
        if (conversation := session.conversation) is not None:
            conversation.goes_on()
        if utterance.conclusion is None:
            return
        if session.listener.lasts_long:
            self._part_ends(session, utterance, utterance.conclusion)
            session.listener.cut_part(session.listener.paused_at)
        else:
            utterance.conclusion.cancel()
            utterance.conclusion = None

    def _part_ends(self, session: LiveSession, utterance: LiveUtterance, conclusion: Concluding) -> None:
        utterance.parts.append(conclusion)
        utterance.conclusion = None
        utterance.said_before = utterance.text
        utterance.agreement = Agreement()
        utterance.part += 1
        session.listener.transcript = utterance.said_before

    async def _partial(self, session: LiveSession, utterance: LiveUtterance, pcm: bytes) -> None:
        part = utterance.part
        call = Call.within(self._settings.transcript_timeout_s, session.id)
        language = session.language or utterance.language or session.heard_language
        try:
            hearing = await self._transcription.hear(call, Utterance(pcm, language), utterance.agreement)
        except HearthError as error:
            # The next one may come through, and the final transcript tells what is wrong.
            logger.info("session %s: no partial transcript: %s", session.id, error.message)
            return
        finally:
            utterance.hearing = None
        if session.utterance is not utterance or utterance.part != part or not session.is_addressed:
            return
        session.heard_language = hearing.language or session.heard_language
        utterance.agreement = hearing.agreement
        session.listener.transcript = utterance.text
        if session.is_closed or not utterance.text or utterance.text == utterance.shown:
            return
        utterance.shown = utterance.text
        utterance.shown_at = utterance.shown_at or now()
        session.counts.partials += 1
        await self.publish(
            session,
            messages_pb2.STTTranscription(
                transcript=utterance.text,
                is_partial=True,
                has_voice_activity=True,
                stable_characters=len(utterance.stable_text),
            ),
        )
        if (conversation := session.conversation) is not None:
            conversation.hears(utterance.likely_text)

    def _conclude(self, session: LiveSession, utterance: LiveUtterance, pcm: bytes, *, judge_turn: bool) -> Concluding:
        async def conclude() -> TurnEnding | HearthError:
            call = Call.within(self._settings.transcript_timeout_s, session.id)
            began_at = now()
            # So little says which words it is, but hardly in which language.
            is_short = seconds_of(pcm) < _TELLS_LANGUAGE_S
            language = session.language or (session.heard_language if is_short else "")
            try:
                return await self._transcription.conclude(call, Utterance(pcm, language), judge_turn)
            except HearthError as error:
                return error
            except Exception:
                logger.exception("session %s: no final transcript", session.id)
                return InternalError("the transcription failed inside the ingress")
            finally:
                utterance.concluding = (began_at, now())

        def judged(task: Concluding) -> None:
            if task.cancelled() or utterance.conclusion is not task or session.utterance is not utterance:
                return
            session.listener.is_being_judged = False
            conclusion = task.result()
            if isinstance(conclusion, TurnEnding):
                session.listener.completion = conclusion.completion
                session.listener.transcript = conclusion.text
                self._pauses(session, " ".join(filter(None, (utterance.said_before, conclusion.text))))

        def ended(_: Concluding) -> None:
            session.concluding -= 1
            self._line.put(session)

        task = self._spawn(conclude())
        session.concluding += 1
        task.add_done_callback(judged)
        task.add_done_callback(ended)
        return task

    def _pauses(self, session: LiveSession, text: str) -> None:
        if (conversation := session.conversation) is not None:
            conversation.pauses(text)

    async def _final(
        self,
        session: LiveSession,
        utterance: LiveUtterance,
        before: asyncio.Task[None] | None,
        turn: Turn | None,
        heard: int,
    ) -> None:
        ended_at = now()
        texts: list[str] = []
        error: HearthError | None = None
        for part in utterance.parts:
            conclusion = await part
            if isinstance(conclusion, TurnEnding):
                texts.append(conclusion.text)
                session.heard_language = conclusion.language or session.heard_language
            else:
                error = conclusion
        if texts and error is None:
            texts[-1] = settled(texts[-1], utterance.agreement)
        if before is not None:
            await asyncio.wait([before])
        text = utterance.text if error else " ".join(filter(None, texts))
        self._metrics.utterance_ended(error.kind if error else "ok", now() - ended_at)
        session.counts.seconds_to_final = now() - ended_at
        if session.is_closed or not (text or utterance.shown or error):
            session.progress.settle(heard)
            return
        await self.publish(
            session,
            messages_pb2.STTTranscription(
                transcript=text,
                is_final=True,
                has_voice_activity=True,
                error=error.message if error else "",
                error_type=error.kind if error else "",
                turn=turn.number if turn else 0,
                revision=turn.revision if turn else 0,
            ),
        )
        # Right behind the transcript: whoever goes on with the session is not to tell it again.
        session.progress.settle(heard)
        self._tell_soon(session.id)
        if turn is None or session.conversation is None or session.is_closed:
            return
        if text and error is None:
            _note_question(turn, utterance)
            session.conversation.ask(turn, text)


def _note_question(turn: Turn, utterance: LiveUtterance) -> None:
    """Take what happened while a question was asked into its turn's record."""
    turn.stages.add("question", utterance.began_at, turn.speech_ended_at)
    if utterance.shown_at:
        turn.stages.moment("first partial", utterance.shown_at)
    turn.stages.add("transcribe", *utterance.concluding)
    turn.stages.add("wait for more", turn.speech_ended_at, turn.ended_at)


def _note_loss(session: LiveSession, transcript: messages_pb2.STTTranscription) -> None:
    """Say in a final transcript that some of the sound before it is missing."""
    loss, session.loss = session.loss, None
    if loss is not None and not transcript.error:
        transcript.error, transcript.error_type = f"sound was lost: {loss.message}", loss.kind


async def _known(text: str) -> TurnEnding | HearthError:
    return TurnEnding(text)
