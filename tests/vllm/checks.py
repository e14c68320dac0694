"""What holds of both bindings by handle, whatever runs the model: as assertions."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, UnavailableError, UpstreamFailedError
from deployments.services import LanguageModelService
from deployments.values.language import Exchange, Prompt
from tests.pieces import texts
from tests.vllm.bindings import BLOCK_TOKENS, CONTEXT_TOKENS, Bindings, Way
from tests.vllm.timed_engine import STORY

SYSTEM = "Be brief."
ANSWER_S = 120.0
_AWAY_S = 60.0
_numbers = itertools.count(1)


def within(seconds: float = ANSWER_S, session: str = "") -> Call:
    return Call.within(seconds, "check", session=session)


def story() -> str:
    """Return a question that was not asked before, whose answer ends only at its limit."""
    return f"{STORY} the story of dragon {next(_numbers)}: count to 256"


async def check(bindings: Bindings, way: Way) -> None:
    """Check a binding; tell on standard output.

    Raises:
        AssertionError: Something does not hold.
    """
    checks: tuple[Callable[[Bindings, LanguageModelService], Coroutine[Any, Any, None]], ...] = (
        chat,
        cancel,
        too_long,
        prefix_kept,
        prefill_while_speaking,
    )
    for one in checks:
        await one(bindings, bindings.way(way))
        print(f"{way}: {one.__name__.replace('_', ' ')} holds", flush=True)


async def chat(bindings: Bindings, model: LanguageModelService) -> None:
    """An answer streams; the first token comes before the last was made."""
    asked = story()
    pieces = [text async for text in texts(model.generate(within(), Prompt(SYSTEM, asked)))]
    assert len(pieces) > bindings.model.max_tokens // 2, pieces
    assert "".join(pieces).strip()
    assert bindings.chat(asked).aborted is None
    assert (await model.status(within())).ready


async def cancel(bindings: Bindings, model: LanguageModelService) -> None:
    """An answer that is left is aborted in the engine."""
    asked = story()
    async with aclosing(texts(model.generate(within(), Prompt(SYSTEM, asked)))) as said:
        await anext(said)
    chat = await asyncio.to_thread(bindings.chat, asked)
    assert chat.aborted is not None


async def too_long(bindings: Bindings, model: LanguageModelService) -> None:
    """A question beyond the context window is the client's to shorten."""
    del bindings
    asked = Prompt(SYSTEM, "word " * 2 * CONTEXT_TOKENS)
    refused = await _error_of(texts(model.generate(within(), asked)))
    assert isinstance(refused, InvalidRequestError), refused
    assert refused.limit is not None
    assert refused.field == "message"


async def prefix_kept(bindings: Bindings, model: LanguageModelService) -> None:
    """The second turn of a conversation finds the first one in the cache."""
    assert await second_turn_is_warm(bindings, model, f"Fact {next(_numbers)}.", "")


async def second_turn_is_warm(
    bindings: Bindings, model: LanguageModelService, subject: str, session: str, facts: int = 20
) -> bool:
    """Read two turns of a conversation; say whether the engine had all of the first but its last blocks.

    Args:
        bindings: Where the engine's records are.
        model: Reads the turns.
        subject: What the conversation begins with, unlike any other.
        session: Of the calls.
        facts: Sentences of the first question.
    """
    told = " ".join(f"Box {number} holds {number * 7} red marbles." for number in range(facts))
    first = Prompt(SYSTEM, f"{subject} {told} How many are in box 3?")
    asked = f"{subject} And in box 5?"
    history = (Exchange(first.question, "There are 21 marbles in it."),)
    for prompt in (first, Prompt(SYSTEM, asked, history=history)):
        async for _tokens in model.read(within(session=session), prompt):
            pass
    before = await asyncio.to_thread(bindings.chat, first.question)
    after = await asyncio.to_thread(bindings.chat, asked)
    assert before.prompt_tokens > 0
    # What is left over of a block is not cached, nor are the words that the template puts before an answer.
    return after.process_id == before.process_id and after.cached_tokens + 2 * BLOCK_TOKENS >= before.prompt_tokens


async def prefill_while_speaking(bindings: Bindings, model: LanguageModelService) -> None:
    """A prompt is read while an answer goes on, which does not wait for it."""
    asked, read = story(), asyncio.Event()
    pieces = 0

    async def read_ahead() -> None:
        async for _tokens in model.read(within(), Prompt(SYSTEM, f"Read {next(_numbers)} of these. " * 20)):
            pass
        read.set()

    async with aclosing(texts(model.generate(within(), Prompt(SYSTEM, asked)))) as said:
        await anext(said)
        reading = asyncio.create_task(read_ahead())
        async for _text in said:
            pieces += 1
            if read.is_set():
                break
        await reading
    assert 0 < pieces < bindings.model.max_tokens - 2, pieces


async def engine_killed(bindings: Bindings, way: Way, kill: Callable[[], None]) -> None:
    """An answer breaks off when its engine dies, the next is refused as unavailable, and the status says so."""
    model = bindings.way(way)
    said = texts(model.generate(within(), Prompt(SYSTEM, story())))
    async with aclosing(said):
        await anext(said)
        kill()
        broken = await _error_of(said)
    assert isinstance(broken, UpstreamFailedError | UnavailableError), broken
    refused = None
    async with asyncio.timeout(_AWAY_S):
        while not isinstance(refused, UnavailableError):
            refused = await _error_of(texts(model.generate(within(5.0), Prompt(SYSTEM, story()))))
    print(f"{way}: engine killed holds: {broken.kind}, then {refused.kind}: {refused.reason}", flush=True)


async def _error_of(said: Any) -> HearthError | None:
    try:
        async with aclosing(said):
            async for _text in said:
                pass
    except HearthError as error:
        return error
    return None
