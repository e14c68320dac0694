"""How a run is followed through the failures of its engine: a run does not end because nobody can be asked about it."""

import asyncio
import logging

from deployments.backoff import Pauses
from deployments.errors import HearthError, NotFoundError
from deployments.pipelines.ports import EngineUnavailableError

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
        self.rewarded()

    def rewarded(self) -> None:
        """Begin with short pauses again: the engine has answered."""
        self._pauses = Pauses(_PAUSE_S, _LONGEST_PAUSE_S)
        self._missed = 0

    async def pause(self) -> None:
        """Wait before the engine is asked anew, though nothing is wrong."""
        await asyncio.sleep(self._pauses.next())

    async def bears(self, error: HearthError) -> bool:
        """Wait before the engine is asked again; return False where the run is gone, and asking is in vain."""
        self._missed = self._missed + 1 if isinstance(error, NotFoundError) else 0
        if self._missed == _GONE_AFTER:
            return False
        logger.info("run %s cannot be looked at: %s", self._run_id, error.message)
        await asyncio.sleep(
            self._pauses.next(error.retry_after_s if isinstance(error, EngineUnavailableError) else 0.0)
        )
        return True
