"""How live audio is listened to: voice activity, turns, barge-in, sessions.

Durations are in milliseconds of sound, whatever the pace at which it arrives, and are rounded to windows of 32 ms.
"""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from deployments.settings.base import Settings


class VoiceActivitySettings(Settings):
    """What counts as speech.

    Attributes:
        model: A name in the model manifest, or the path of Silero's ONNX file for 16 kHz.
        start_probability: Probability of speech from which silence turns into speech.
        end_probability: Probability below which speech turns into silence; lower, so that a voice that wavers is not
            cut.
        min_speech_ms: Speech shorter than that is no utterance.
        abandon_ms: Silence after which sound that has not become an utterance is forgotten.
        pre_roll_ms: Sound kept from before the beginning of speech, so that its first phoneme survives.
    """

    model: str = "silero-vad"
    start_probability: float = Field(default=0.5, gt=0.0, lt=1.0)
    end_probability: float = Field(default=0.35, gt=0.0, lt=1.0)
    min_speech_ms: PositiveInt = 128
    abandon_ms: PositiveInt = 320
    pre_roll_ms: PositiveInt = 320


class TurnSettings(Settings):
    """When a speaker has finished.

    Attributes:
        silence_ms: Silence that ends a turn when nothing else is known about it.
        shortest_silence_ms: The same where it sounds finished.
        longest_silence_ms: The same where it sounds unfinished, and the most that a speaker's habit can ask for.
        finished_at: Probability of the end-of-turn model from which a turn sounds finished.
        unfinished_at: Probability up to which it sounds unfinished; in between, the silence is in between.
        conclude_after_ms: Silence after which the final transcript is begun, in case the turn ends here; thrown away
            where speech goes on.
        tail_ms: Silence left at the end of an utterance.
        part_ms: From this length an utterance that pauses is transcribed in parts, so that what was said long ago is
            not decoded again.
        max_part_ms: A part without a pause is cut at its quietest place.
        partial_ms: New sound between two partial transcripts.
    """

    silence_ms: PositiveInt = 704
    shortest_silence_ms: PositiveInt = 320
    longest_silence_ms: PositiveInt = 1216
    finished_at: float = Field(default=0.7, ge=0.0, le=1.0)
    unfinished_at: float = Field(default=0.3, ge=0.0, le=1.0)
    conclude_after_ms: PositiveInt = 192
    tail_ms: PositiveInt = 192
    part_ms: PositiveInt = 10_000
    max_part_ms: PositiveInt = Field(default=28_000, le=29_000)
    partial_ms: PositiveInt = 480


class BargeInSettings(Settings):
    """What interrupts an answer.

    Attributes:
        min_speech_ms: Speech shorter than that, a cough, interrupts nothing.
        echo_ratio: Where the sound that is played to the session is known, speech must be louder than this share of it,
            because less may be its echo; 0 takes any.
    """

    min_speech_ms: PositiveInt = 192
    echo_ratio: NonNegativeFloat = 0.1


class PreparationSettings(Settings):
    """What is done for a question before it is known to be over.

    Attributes:
        enabled: Off, nothing happens before the question is whole.
        min_words: Words that are likely to stay (all of a partial transcript but its last) before passages are
            looked for.
        step_words: More such words before they are looked for again.
        max_per_question: How often they are looked for while a question is being asked; once more at each pause.
        max_wasted_tokens: Prompt tokens read in vain after which no more is prepared for a question.
        max_answers: How often an answer is begun at a pause of a question's speaker, and thrown away where they go on;
            0 to answer no question before it is known to be over.
    """

    enabled: bool = True
    min_words: PositiveInt = 4
    step_words: PositiveInt = 3
    max_per_question: PositiveInt = 4
    max_wasted_tokens: PositiveInt = 600
    max_answers: NonNegativeInt = 3


class ConversationSettings(Settings):
    """How what is said in a session is answered, where its "start" asks for that.

    Attributes:
        reopen_ms: Speech that begins so soon after a turn was taken as ended, or before anything of the answer was
            heard, goes on with that turn, and the answer begins anew.
        report_wait_ms: After an interruption, how long the client has to say what it has played; then it is estimated
            by the pace of time.
        answer_timeout_s: Time that an answer may take to be written and spoken.
        preparation: What is done while the question is being asked.
    """

    reopen_ms: PositiveInt = 1200
    report_wait_ms: PositiveInt = 300
    answer_timeout_s: PositiveFloat = 60.0
    preparation: PreparationSettings = PreparationSettings()


class TakeoverSettings(Settings):
    """How a session goes on at another replica when its own dies.

    Attributes:
        keep_s: Seconds of a session's sound that the replica which would go on with it keeps at most, since the last
            transcript; 0 to keep none. Then what is being said is lost with its replica.
        max_mb: Mebibytes of such sound that a replica keeps for all sessions of others together.
    """

    keep_s: NonNegativeFloat = 30.0
    max_mb: PositiveInt = 64


class AudioSettings(Settings):
    """Live audio.

    Attributes:
        enabled: Off, there is no AudioIngress, no Transcription and no Speech.
        voice_activity: What counts as speech.
        turns: When a speaker has finished.
        barge_in: What interrupts an answer.
        conversation: How what is said is answered.
        idle_s: Seconds without a message after which a session is dropped.
        stall_s: Seconds without a message after which an utterance that was being said is taken as ended.
        max_sessions: Sessions of one replica; further ones are refused.
        max_user_sessions: Sessions of one user, as "start" names them, in one replica.
        max_backlog_s: Seconds of sound that a session may be ahead of what is listened to; what comes beyond that is
            lost. The next final transcript and the log say so.
        max_user_backlog_s: The same for all sessions of one user in a replica together.
        max_total_backlog_s: The same for all sessions of a replica together, at 32 kB a second. No session and no user
            may hold more of it than is left for others.
        transcript_timeout_s: Time that a final transcript may take.
        takeover: How a session goes on at another replica when its own dies.
    """

    enabled: bool = True
    voice_activity: VoiceActivitySettings = VoiceActivitySettings()
    turns: TurnSettings = TurnSettings()
    barge_in: BargeInSettings = BargeInSettings()
    conversation: ConversationSettings = ConversationSettings()
    idle_s: PositiveFloat = 30.0
    stall_s: PositiveFloat = 1.5
    max_sessions: PositiveInt = 1000
    max_user_sessions: PositiveInt = 50
    max_backlog_s: PositiveFloat = 600.0
    max_user_backlog_s: PositiveFloat = 1200.0
    max_total_backlog_s: PositiveFloat = 7200.0
    transcript_timeout_s: PositiveFloat = 30.0
    takeover: TakeoverSettings = TakeoverSettings()


class SpeechOutputSettings(Settings):
    """How things are said.

    Attributes:
        max_characters: Longer texts are refused.
        chunk_bytes: Sound in one streamed message at most.
    """

    max_characters: PositiveInt = 5000
    chunk_bytes: PositiveInt = Field(default=32_768, le=524_288)
