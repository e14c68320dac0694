"""Putting a prompt into messages, and cutting it to a model's context window."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from deployments.errors import InvalidRequestError, Limit
from deployments.values.language import Exchange, Message, Prompt, Role

CountTokens = Callable[[Sequence[Message]], Awaitable[int]]
"""Returns how many tokens messages take in a model's own template and vocabulary."""

_TEMPLATE_BYTES = 32
"""Bound on the tokens that a chat template puts around one message."""


def user_message(question: str, passages: Sequence[str]) -> str:
    """Return the user's message: the passages, if any, and the question after them."""
    if not passages:
        return question
    return "\n\n".join(("Passage:", *passages, f"Question: {question}"))


def to_messages(prompt: Prompt) -> list[Message]:
    """Lay out a prompt as messages: system, examples, history, question.

    What stays the same from one prompt to the next comes first, so that a prefix cache holds it.
    """

    def exchanges(of: Iterable[Exchange]) -> Iterable[Message]:
        for exchange in of:
            yield Message(Role.USER, user_message(exchange.question, exchange.passages))
            yield Message(Role.ASSISTANT, exchange.answer)

    system = [Message(Role.SYSTEM, prompt.system)] if prompt.system else []
    question = Message(Role.USER, user_message(prompt.question, prompt.passages))
    return [*system, *exchanges(prompt.examples), *exchanges(prompt.history), question]


def with_texts(prompt: Prompt, written: Callable[[str], str]) -> Prompt:
    """Return a prompt with each of its texts as `written` writes it."""

    def exchanges(of: Iterable[Exchange]) -> tuple[Exchange, ...]:
        return tuple(
            Exchange(written(one.question), written(one.answer), tuple(written(passage) for passage in one.passages))
            for one in of
        )

    return replace(
        prompt,
        system=written(prompt.system),
        question=written(prompt.question),
        passages=tuple(written(passage) for passage in prompt.passages),
        examples=exchanges(prompt.examples),
        history=exchanges(prompt.history),
    )


def texts_of(prompt: Prompt) -> list[str]:
    """Return all texts of a prompt."""
    texts: list[str] = []

    def taken(text: str) -> str:
        texts.append(text)
        return text

    with_texts(prompt, taken)
    return texts


def reductions(prompt: Prompt) -> list[Prompt]:
    """Return the prompt and ever shorter versions of it, cut at whole turns and passages.

    The oldest turns go first, then the passages from the worst up to the second, then the examples, then the
    last passage.
    """
    steps = [prompt]
    while steps[-1].history:
        steps.append(replace(steps[-1], history=steps[-1].history[1:]))
    while len(steps[-1].passages) > 1:
        steps.append(replace(steps[-1], passages=steps[-1].passages[:-1]))
    while steps[-1].examples:
        steps.append(replace(steps[-1], examples=steps[-1].examples[:-1]))
    if steps[-1].passages:
        steps.append(replace(steps[-1], passages=()))
    return steps


async def fit(prompt: Prompt, limit: int, count_tokens: CountTokens) -> list[Message]:
    """Return the messages of `prompt`, shortened as little as needed to take at most `limit` tokens.

    Raises:
        InvalidRequestError: The system prompt and the question alone take more.
    """
    messages = to_messages(prompt)
    if _bytes_bound(messages) <= limit:
        return messages
    if await count_tokens(messages) <= limit:
        return messages
    steps = reductions(prompt)
    # The first reduction that fits, by bisection: each is shorter than the one before.
    low, high = 1, len(steps)
    while low < high:
        middle = (low + high) // 2
        if await count_tokens(to_messages(steps[middle])) <= limit:
            high = middle
        else:
            low = middle + 1
    if low == len(steps):
        needed = await count_tokens(to_messages(steps[-1]))
        raise InvalidRequestError(
            f"the question takes {needed} tokens with its system prompt; the model reads {limit}",
            field="message",
            limit=Limit("engine.context_tokens", limit, needed),
        )
    return to_messages(steps[low])


def _bytes_bound(messages: Sequence[Message]) -> int:
    """Return a bound on the tokens of `messages`: no token is shorter than a byte."""
    return sum(len(message.content.encode()) + _TEMPLATE_BYTES for message in messages)
