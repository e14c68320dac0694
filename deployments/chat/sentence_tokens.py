"""The tokens of an answer, gathered into sentences."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from deployments.text.sentences import sentence_end


@dataclass(frozen=True, slots=True)
class SentenceTokens:
    """The tokens of one sentence.

    Attributes:
        tokens: As the model made them; joined, they are the sentence with the space around it.
        complete: Whether its end was seen; the last sentence of an answer that hit its limit is not.
    """

    tokens: tuple[str, ...]
    complete: bool


async def sentences_of(tokens: AsyncGenerator[str]) -> AsyncGenerator[SentenceTokens]:
    """Yield the tokens of a text sentence by sentence, each as soon as its end is seen.

    A token that holds the end of one sentence and the start of the next is cut in two.
    """
    held: list[str] = []
    async with aclosing(tokens):
        async for token in tokens:
            held.append(token)
            while (end := sentence_end("".join(held))) is not None:
                sentence, held = _split(held, end)
                yield SentenceTokens(tuple(sentence), complete=True)
    text = "".join(held).rstrip()
    if text:
        yield SentenceTokens(tuple(held), complete=text[-1] in ".!?。！？…:”\"')")


def _split(tokens: list[str], end: int) -> tuple[list[str], list[str]]:
    """Cut tokens in two, `end` characters from the start of the text that they make."""
    before: list[str] = []
    for index, token in enumerate(tokens):
        if end <= len(token):
            rest = [token[end:]] if token[end:] else []
            return [*before, token[:end]], [*rest, *tokens[index + 1 :]]
        before.append(token)
        end -= len(token)
    return before, []


def lstripped(tokens: tuple[str, ...]) -> list[str]:
    """Drop the space before the first word."""
    for index, token in enumerate(tokens):
        if stripped := token.lstrip():
            return [stripped, *tokens[index + 1 :]]
    return []


async def stripped(tokens: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """Pass tokens on, without the space before the first word."""
    started = False
    async with aclosing(tokens):
        async for token in tokens:
            text = token if started else token.lstrip()
            if text:
                started = True
                yield text
