"""The tokens of an answer, gathered into sentences."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from deployments.text.sentences import sentence_end


@dataclass(frozen=True, slots=True)
class SentenceTokens:
    """The tokens of one sentence.

    Attributes:
        tokens: As the model made them; joined, they are the sentence with the space around it.
        complete: Whether its end was seen; the last sentence of an answer that hit its limit is not.
        given_up: Whether it was given up before its end, as what it began with cannot pass.
    """

    tokens: tuple[str, ...]
    complete: bool
    given_up: bool = False


def _anything(beginning: str) -> bool:
    del beginning
    return True


async def sentences_of(
    tokens: AsyncGenerator[str], may_pass: Callable[[str], bool] = _anything
) -> AsyncGenerator[SentenceTokens]:
    """Yield the tokens of a text sentence by sentence, each as soon as its end is seen.

    A token that holds the end of one sentence and the start of the next is cut in two.

    Args:
        tokens: Of the text.
        may_pass: Says of the beginning of a sentence whether the caller may want what begins so. If not, that is the
            last sentence, and it is given up there.
    """
    held: list[str] = []
    async with aclosing(tokens):
        async for token in tokens:
            held.append(token)
            while (end := sentence_end("".join(held))) is not None:
                sentence, held = _split(held, end)
                yield SentenceTokens(tuple(sentence), complete=True)
            if not may_pass("".join(held)):
                yield SentenceTokens(tuple(held), complete=False, given_up=True)
                return
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
