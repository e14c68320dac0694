"""The pieces of a language model's answer, as a test looks at them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments.values.language import Piece


async def texts(pieces: AsyncGenerator[Piece]) -> AsyncGenerator[str]:
    """Yield the text of each piece that has one."""
    async with aclosing(pieces):
        async for piece in pieces:
            if piece.text:
                yield piece.text
