"""How a run is followed through the failures of its engine: a run does not end because nobody can be asked about it."""

import logging

from deployments.backoff import Backoff
from deployments.errors import HearthError
from deployments.pipelines.ports import EngineNotFoundError

logger = logging.getLogger(__name__)

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_GONE_AFTER = 3
"""A gateway whose engine restarts may say "not found" once."""


class Patience:
    """Pauses after failures, longer each time, until something goes well.

    Args:
        run_id: Of the run, for the log.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._missed = 0
        self._backoff = Backoff(_PAUSE_S, _LONGEST_PAUSE_S)

    def rewarded(self) -> None:
        """Begin with short pauses again: the engine has answered."""
        self._backoff.reset()
        self._missed = 0

    async def pause(self, at_least_s: float | None = None) -> None:
        """Wait before the engine is asked anew, though nothing is wrong."""
        await self._backoff.pause(at_least_s)

    async def bears(self, error: HearthError) -> bool:
        """Wait before the engine is asked again; return False where the run is gone, and asking is in vain."""
        self._missed = self._missed + 1 if isinstance(error, EngineNotFoundError) else 0
        if self._missed == _GONE_AFTER:
            return False
        logger.info("run %s cannot be looked at: %s", self._run_id, error.message)
        await self.pause(error.retry_after_s)
        return True
