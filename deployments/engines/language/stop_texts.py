"""Stop texts that a server does not take: its answer is ended here."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from deployments.values.language import FinishReason, Piece


async def until_stop(pieces: AsyncGenerator[Piece], stops: Callable[[], Sequence[str]]) -> AsyncGenerator[Piece]:
    """Yield an answer up to the first of some texts, which is left out.

    What may be the beginning of one is held back until it is known not to be.

    Args:
        pieces: The answer; closed when it is ended here.
        stops: Returns the texts, none of them empty. Asked with each piece, for a server tells what it takes by its
            first one.
    """
    held = ""
    async with aclosing(pieces):
        async for piece in pieces:
            text, texts = held + piece.text, stops()
            found = [at for at in (text.find(stop) for stop in texts) if at >= 0]
            if found:
                yield Piece(text[: min(found)], piece.thought, FinishReason.STOP)
                return
            held = "" if piece.end else _begun(text, texts)
            shown = text[: len(text) - len(held)]
            if shown or piece.thought or piece.end:
                yield piece._replace(text=shown)


def _begun(text: str, stops: Sequence[str]) -> str:
    """Return the longest end of a text that begins one of the stop texts."""
    longest = max((len(stop) for stop in stops), default=0)
    ends = (text[start:] for start in range(max(0, len(text) - longest + 1), len(text)))
    return next((end for end in ends if any(stop.startswith(end) for stop in stops)), "")
