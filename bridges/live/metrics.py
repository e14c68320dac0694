"""What is counted of live audio."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

logger = logging.getLogger(__name__)


class AudioMetrics(Protocol):
    """Counts what is heard."""

    def sessions(self, count: int) -> None:
        """Say how many sessions there are."""
        ...

    def tasks(self, count: int) -> None:
        """Say how many tasks the loop of this replica has."""
        ...

    def utterance_ended(self, outcome: str, seconds_to_final: float) -> None:
        """Count an utterance, and the time from the end of its turn to its final transcript."""
        ...

    def interrupted(self) -> None:
        """Count an interruption."""
        ...


class LoggedMetrics:
    """Counts as other metrics do; see `AudioMetrics`. What they raise is logged, for sessions go on without it.

    Args:
        metrics: The others.
    """

    def __init__(self, metrics: AudioMetrics) -> None:
        self._metrics = metrics

    def sessions(self, count: int) -> None:
        with _logged():
            self._metrics.sessions(count)

    def tasks(self, count: int) -> None:
        with _logged():
            self._metrics.tasks(count)

    def utterance_ended(self, outcome: str, seconds_to_final: float) -> None:
        with _logged():
            self._metrics.utterance_ended(outcome, seconds_to_final)

    def interrupted(self) -> None:
        with _logged():
            self._metrics.interrupted()


@contextmanager
def _logged() -> Generator[None]:
    try:
        yield
    except Exception:
        logger.exception("live audio could not be counted")
