"""What is counted of requests, on the endpoint where Ray's own metrics are, each name after `ray_`."""

from ray.util.metrics import Counter, Gauge, Histogram

from bridges.operations.outcome import Outcome
from deployments.values.pipelines import PipelineReport

_FIRST_TOKEN_S = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
"""Bounds that the semantic conventions for generative AI give for a server's time to first token."""
_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60]
_TOKENS_PER_S = [1.0, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280]


class RayMetrics:
    """Requests by subject and outcome, how many are open, and the times of their stages.

    Subjects are patterns and outcomes are kinds, so that the number of series is bounded.
    """

    def __init__(self) -> None:
        by_subject = ("subject",)
        self._requests = Counter(
            "hearth_requests", "Requests that ended, by subject and outcome.", ("subject", "outcome")
        )
        self._in_flight = Gauge("hearth_requests_in_flight", "Requests that are worked on.")
        self._waiting = Gauge("hearth_requests_waiting", "Requests that wait for their turn.")
        self._duration = Histogram(
            "hearth_request_duration_seconds",
            "From the arrival of a request that was taken to its final answer.",
            _SECONDS,
            by_subject,
        )
        self._first_token = Histogram(
            "hearth_time_to_first_token_seconds",
            "From a question's turn to its first token.",
            _FIRST_TOKEN_S,
            by_subject,
        )
        self._token_rate = Histogram(
            "hearth_tokens_per_second", "Tokens of an answer by the time of its generation.", _TOKENS_PER_S, by_subject
        )
        self._thoughts = Counter(
            "hearth_thought_tokens", "Tokens that the language model thought before its answers, about.", by_subject
        )
        self._redelivered = Counter(
            "hearth_redelivered_requests", "Kept requests that were given out again.", by_subject
        )
        self._given_up = Counter("hearth_dead_letters", "Kept requests that were given up.", by_subject)
        self._retrieval = Histogram(
            "hearth_retrieval_seconds", "From a question to its passages.", _SECONDS, by_subject
        )

        self._sessions = Gauge("hearth_audio_sessions", "Live audio sessions.")
        self._tasks = Gauge("hearth_audio_tasks", "Tasks on the loop of the replica that hears live audio.")
        self._utterances = Counter("hearth_utterances", "Utterances that were transcribed, by outcome.", ("outcome",))
        self._to_final = Histogram(
            "hearth_time_to_final_transcript_seconds", "From the end of a turn to its final transcript.", _FIRST_TOKEN_S
        )
        self._interrupts = Counter("hearth_interrupts", "Answers that their listener interrupted.")
        self._first_audio = Histogram(
            "hearth_time_to_first_audio_seconds", "From a text's turn to its first sound.", _FIRST_TOKEN_S, by_subject
        )

        self._pipelines = Counter(
            "hearth_pipeline_reports", "Changes of pipeline runs that were told.", ("pipeline", "status")
        )

    def pipeline_reported(self, report: PipelineReport) -> None:
        """Count what a client was told of its run."""
        self._pipelines.inc(tags={"pipeline": report.pipeline, "status": report.status.value})

    def ended(self, subject: str, outcome: Outcome, seconds: float) -> None:
        """Count a request that took `seconds` since it arrived."""
        tags = {"subject": subject}
        self._requests.inc(tags={**tags, "outcome": outcome.name})
        self._duration.observe(seconds, tags)
        stages = outcome.stages_s
        if "first_token" in stages:
            self._first_token.observe(stages["first_token"], tags)
        if "retrieve" in stages:
            self._retrieval.observe(stages["retrieve"], tags)
        if stages.get("first_audio"):
            self._first_audio.observe(stages["first_audio"], tags)
        if outcome.thought_tokens:
            self._thoughts.inc(outcome.thought_tokens, tags)
        if outcome.tokens and stages.get("generate"):
            self._token_rate.observe(outcome.tokens / stages["generate"], tags)

    def refused(self, subject: str, outcome: Outcome, number: int) -> None:
        """Count requests that were refused without any work: their times are none of an answer's."""
        self._requests.inc(number, {"subject": subject, "outcome": outcome.name})

    def redelivered(self, subject: str) -> None:
        """Count a request that was given out again, because its replica was lost."""
        self._redelivered.inc(tags={"subject": subject})

    def given_up(self, subject: str) -> None:
        """Count a request that has become a dead letter."""
        self._given_up.inc(tags={"subject": subject})

    def open(self, in_flight: int, waiting: int) -> None:
        """Say how many requests are worked on and wait now."""
        self._in_flight.set(in_flight)
        self._waiting.set(waiting)

    def sessions(self, count: int) -> None:
        """Say how many live audio sessions there are."""
        self._sessions.set(count)

    def tasks(self, count: int) -> None:
        """Say how many tasks the loop of this replica has."""
        self._tasks.set(count)

    def utterance_ended(self, outcome: str, seconds_to_final: float) -> None:
        """Count an utterance, and the time from the end of its turn to its final transcript."""
        self._utterances.inc(tags={"outcome": outcome})
        self._to_final.observe(seconds_to_final)

    def interrupted(self) -> None:
        """Count an interruption."""
        self._interrupts.inc()
