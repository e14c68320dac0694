from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing

from deployments.call import Call
from deployments.errors import InvalidRequestError, Limit, UnavailableError
from deployments.inference.language_model import LanguageModel
from deployments.values.language import Exchange, FinishReason, Generation, Message, Piece, Prompt
from tests.pieces import texts
from tests.refusals import refused
from tests.unit.services import LARGE, SMALL


class Engine:
    """Counts a token for each word, and repeats the last message."""

    description = "echo"
    model_name = "echo"
    is_remote = False
    context_tokens = 100
    tokens_generated = 0

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[Message], Generation]] = []
        self.read_messages: list[Sequence[Message]] = []
        self.read_for: list[Generation] = []
        self.stopped = 0
        self.error: UnavailableError | None = None

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        del call
        self.asked.append((messages, generation))
        try:
            for word in messages[-1].content.split():
                yield Piece(thought="Hm")
                yield Piece(word)
            yield Piece(end=FinishReason.STOP)
        finally:
            self.stopped += 1

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        return {"</s>"} & {*texts}

    async def opens_thought(self, generation: Generation) -> bool:
        del generation
        return False

    async def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        del call
        self.read_messages.append(messages)
        self.read_for.append(generation)
        yield await self.count_tokens(messages)

    async def check(self) -> None:
        if self.error:
            raise self.error

    async def close(self) -> None: ...


async def test_a_prompt_is_cut_so_that_the_answer_has_room() -> None:
    engine = Engine()
    model = LanguageModel(engine, SMALL)  # 48 of 100 tokens are the answer's
    prompt = Prompt("", "word " * 40, passages=("passage " * 30,))
    tokens = [token async for token in texts(model.generate(Call.within(5.0), prompt))]
    assert tokens == ["word"] * 40
    assert engine.asked[0][1] == SMALL.generation


async def test_a_question_that_leaves_the_answer_no_room_is_refused() -> None:
    model = LanguageModel(Engine(), SMALL)
    with refused(InvalidRequestError, limit=Limit("engine.context_tokens", 52, 60)):
        await anext(model.generate(Call.within(5.0), Prompt("", "word " * 60)))


async def test_leaving_an_answer_stops_the_engine() -> None:
    engine = Engine()
    async with aclosing(LanguageModel(engine, SMALL).generate(Call.within(5.0), Prompt("", "x y z"))) as pieces:
        assert (await anext(pieces)).text == "x"
    assert engine.stopped == 1


async def test_an_answer_ends_with_its_reason_and_without_what_the_model_thinks() -> None:
    model = LanguageModel(Engine(), SMALL)
    pieces = [piece async for piece in model.generate(Call.within(5.0), Prompt("", "x y"))]
    assert pieces == [Piece("x", thought_tokens=1), Piece("y", thought_tokens=1), Piece(end=FinishReason.STOP)]


async def test_a_prompt_is_read_as_it_would_be_answered() -> None:
    engine = Engine()
    model = LanguageModel(engine, SMALL)
    prompt = Prompt("Be brief.", "Why?", ("Because.",))
    assert [tokens async for tokens in model.read(Call.within(5.0), prompt)] == [6]
    [_ async for _ in model.generate(Call.within(5.0), prompt)]
    assert (engine.read_messages[0], engine.read_for[0]) == engine.asked[0]


async def test_marks_of_templates_are_text_in_every_part_of_a_prompt() -> None:
    engine = Engine()
    mark, plain = "<|im_end|></s><s>", "< |im_end|>< /s><s>"
    turn = Exchange(mark, mark, (mark,))
    prompt = Prompt(mark, mark, (mark,), (turn,), (turn,))
    model = LanguageModel(engine, LARGE)
    engine.context_tokens = 4096
    [_ async for _ in model.generate(Call.within(5.0), prompt)]
    [_ async for _ in model.read(Call.within(5.0), prompt)]
    said = [message.content for message in (*engine.asked[0][0], *engine.read_messages[0])]
    assert len(said) == 12
    assert not any(mark in text for text in said)
    assert all(plain in text for text in said)


async def test_warming_reads_the_examples() -> None:
    engine = Engine()
    await LanguageModel(engine, SMALL).warm(5.0)
    assert (len(engine.read_messages), engine.asked) == (1, [])
    assert SMALL.examples[0].question in engine.read_messages[0][1].content


async def test_the_model_can_be_used_differently_without_being_loaded_again() -> None:
    model = LanguageModel(Engine(), SMALL)
    model.configure(LARGE)
    assert (await model.profile(Call.within(5.0))).answering == LARGE


async def test_status_tells_what_is_wrong() -> None:
    engine = Engine()
    model = LanguageModel(engine, SMALL)
    assert (await model.status(Call.within(5.0))).ready
    engine.error = UnavailableError("llama.cpp does not answer")
    status = await model.status(Call.within(5.0))
    assert (status.ready, status.detail) == (False, "llama.cpp does not answer")
