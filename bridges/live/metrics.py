"""What is counted of live audio."""

from typing import Protocol


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
