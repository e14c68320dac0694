"""An utterance of a live session while it is being said."""

import asyncio
from dataclasses import dataclass, field

from bridges.live.turn import Turn
from deployments.errors import HearthError
from deployments.values.speech import Agreement, TurnEnding

Concluding = asyncio.Task[TurnEnding | HearthError]


@dataclass(slots=True, eq=False)
class LiveUtterance:
    """An utterance while it is being said.

    Attributes:
        parts: The transcripts, on their way, of what was said before its current part.
        said_before: The words of those parts, as the last partial transcript had them.
        agreement: What is known of the words of the current part.
        hearing: The partial transcript on its way.
        conclusion: The final transcript of the current part, on its way in case it ends here.
        part: Which part it is at.
        shown: The last partial transcript that was published.
        language: What was detected.
        reopened: The turn of the conversation that it goes on with.
        began_at: When it began, on the loop's clock.
        shown_at: When the first partial transcript was there, 0 before that.
        concluding: When the last final transcript of the current part was begun, and when it was there.
    """

    parts: list[Concluding] = field(default_factory=list[Concluding])
    said_before: str = ""
    agreement: Agreement = field(default_factory=Agreement)
    hearing: asyncio.Task[None] | None = None
    conclusion: Concluding | None = None
    part: int = 0
    shown: str = ""
    language: str = ""
    reopened: Turn | None = None
    began_at: float = 0.0
    shown_at: float = 0.0
    concluding: tuple[float, float] = (0.0, 0.0)

    @property
    def text(self) -> str:
        """All words that are known."""
        return " ".join(filter(None, (self.said_before, self.agreement.text)))

    @property
    def stable_text(self) -> str:
        """Those that later partial transcripts will not change."""
        return " ".join(filter(None, (self.said_before, self.agreement.stable_text)))

    @property
    def likely_text(self) -> str:
        """All words but the last, which is often cut in the middle, unless it will not change."""
        words, stable = self.text.split(), len(self.stable_text.split())
        return " ".join(words[: max(stable, len(words) - 1)])

    def cancel(self) -> None:
        """Stop all that is on its way."""
        for task in (*self.parts, self.hearing, self.conclusion):
            if task is not None:
                task.cancel()
