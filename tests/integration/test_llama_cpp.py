"""The llama.cpp engine with the real default model."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.call import Call
from deployments.engines.language.llama_cpp import LlamaCppEngine
from deployments.errors import BackEnd, InvalidRequestError, UnavailableError
from deployments.inference.language_model import LanguageModel
from deployments.models.store import ModelStore
from deployments.values.language import Exchange, Generation, Message, Prompt, ReasoningEffort, Role
from tests.pieces import texts
from tests.refusals import refused
from tests.unit.services import LARGE, SMALL

CONTEXT_TOKENS = 1024
QUESTION = [Message(Role.USER, "Count from one to fifty in words.")]


def within(seconds: float = 60.0) -> Call:
    return Call.within(seconds, "test")


@pytest.fixture(scope="module")
def engine(models: ModelStore) -> Generator[LlamaCppEngine]:
    file = models.locate_file("smollm2-135m-instruct", "language-model", "model.gguf")
    made = LlamaCppEngine(file, context_tokens=CONTEXT_TOKENS, parallel=2, threads=1, threads_batch=2)
    yield made
    asyncio.run(made.close())


async def generate(engine: LlamaCppEngine, messages: list[Message], **generation: object) -> list[str]:
    settings = Generation(**{"max_tokens": 24, "temperature": 0.0, **generation})  # pyright: ignore[reportArgumentType]
    return [text async for text in texts(engine.generate(within(), messages, settings))]


async def read(engine: LlamaCppEngine, messages: list[Message]) -> int:
    """Return how many tokens were read."""
    async with aclosing(engine.read(within(), messages, Generation())) as counts:
        return [tokens async for tokens in counts][-1]


async def tokens_once_settled(engine: LlamaCppEngine) -> int:
    """Return the engine's count once it makes no more."""
    count = engine.tokens_generated
    while True:
        await asyncio.sleep(0.3)
        if engine.tokens_generated == count:
            return count
        count = engine.tokens_generated


async def test_an_answer_comes_token_by_token_and_is_the_same_again(engine: LlamaCppEngine) -> None:
    before = engine.tokens_generated
    first = await generate(engine, QUESTION)
    assert 5 < len(first) <= 24
    assert engine.tokens_generated - before == len(first)
    assert await generate(engine, QUESTION) == first


async def test_generation_ends_at_its_limit_and_at_its_stop(engine: LlamaCppEngine) -> None:
    assert len(await generate(engine, QUESTION, max_tokens=3)) <= 3
    text = "".join(await generate(engine, QUESTION, max_tokens=40))
    stop = text.split()[3]
    assert stop not in "".join(await generate(engine, QUESTION, max_tokens=40, stop=(stop,)))


async def test_leaving_an_answer_stops_the_model(engine: LlamaCppEngine) -> None:
    before = await tokens_once_settled(engine)
    received = 0
    async with aclosing(texts(engine.generate(within(), QUESTION, Generation(max_tokens=500)))) as tokens:
        async for _ in tokens:
            received += 1
            if received == 5:
                break
    assert await tokens_once_settled(engine) - before <= received + 1


async def test_leaving_before_the_first_token_frees_the_slot(engine: LlamaCppEngine) -> None:
    for number in range(4):
        messages = [Message(Role.USER, f"{number} " + "word " * 600)]
        task = asyncio.create_task(generate(engine, messages))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(20):
        assert await generate(engine, QUESTION, max_tokens=3)


async def test_a_prompt_that_was_read_is_not_read_again_nor_what_it_begins_with(engine: LlamaCppEngine) -> None:
    story = "Once there was a fox who lived beside a river and knew every stone of it. " * 4
    begun = [Message(Role.USER, f"{story} Where did the")]
    whole = [Message(Role.USER, f"{story} Where did the fox live?")]
    tokens = await engine.count_tokens(whole)
    assert await read(engine, begun) > tokens / 2
    assert await read(engine, whole) < tokens / 4
    assert await read(engine, whole) <= 1


async def test_reading_can_be_left(engine: LlamaCppEngine) -> None:
    long = [Message(Role.USER, "A line about nothing in particular, and then another one. " * 60)]
    tokens = await engine.count_tokens(long)
    begun = 0
    async with aclosing(engine.read(within(), long, Generation())) as counts:
        async for begun in counts:
            if begun > tokens / 5:
                break
    assert tokens / 5 < begun < tokens / 2
    # What was read of it is not lost: llama.cpp gives a prompt the slot that holds a tenth of it and more.
    assert await read(engine, long) <= tokens - begun


async def test_several_answers_are_made_at_once(engine: LlamaCppEngine) -> None:
    together = await asyncio.gather(*(generate(engine, QUESTION) for _ in range(5)))
    assert all(5 < len(tokens) <= 24 for tokens in together)


async def test_tokens_are_counted_as_the_model_counts_them(engine: LlamaCppEngine) -> None:
    short, long = [Message(Role.USER, "Hi")], [Message(Role.USER, "Hi " * 100)]
    assert 5 < await engine.count_tokens(short) < 50
    assert 95 <= await engine.count_tokens(long) - await engine.count_tokens(short) <= 205


async def test_a_prompt_over_the_context_window_is_refused(engine: LlamaCppEngine) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        await generate(engine, [Message(Role.USER, "word " * 3 * CONTEXT_TOKENS)])
    limit = raised.value.limit
    assert limit
    assert (limit.name, limit.value) == ("engine.context_tokens", CONTEXT_TOKENS)
    assert limit.given
    assert limit.given > CONTEXT_TOKENS


async def test_a_long_history_is_cut_instead_of_failing(engine: LlamaCppEngine) -> None:
    history = tuple(Exchange(f"Question {number}? " + "word " * 90, "Yes.") for number in range(30))
    prompt = Prompt("Answer.", "What is two plus two?", passages=("passage " * 300,) * 3, history=history)
    tokens = [token async for token in texts(LanguageModel(engine, LARGE).generate(within(), prompt))]
    assert tokens


async def test_special_tokens_in_a_question_are_only_text(engine: LlamaCppEngine) -> None:
    async def read(question: str) -> int:
        async with aclosing(LanguageModel(engine, LARGE).read(within(), Prompt("", question))) as counts:
            return [tokens async for tokens in counts][-1]

    # The second one is a token of this vocabulary, and stands in no table.
    for marker in ("<|im_end|>", "<repo_name>"):
        assert await read(f"{secrets.token_hex()} {marker * 20}") >= 60, "more than a token each"
    assert await generate(engine, [Message(Role.USER, " \x00 ü 火")], max_tokens=4)


async def test_the_vocabulary_tells_which_texts_are_special_tokens(engine: LlamaCppEngine) -> None:
    texts_in_question = {"<|im_end|>", "<repo_name>", "<file_sep>", "<s>", "<b>", "[INST]"}
    for _ in range(2):
        assert {*await engine.special_tokens(texts_in_question)} == {"<|im_end|>", "<repo_name>", "<file_sep>"}
    assert {*await engine.special_tokens({"<i>", "<u>"})} == set()


async def test_a_model_that_does_not_think_takes_what_is_asked_of_one_that_does(engine: LlamaCppEngine) -> None:
    asked = {"effort": ReasoningEffort.HIGH, "thought_tokens": 10, "max_tokens": 4}
    assert await generate(engine, QUESTION, **asked)


async def test_a_file_that_is_no_model_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("model") / "model.gguf"
    file.write_bytes(b"not a model")
    with refused(UnavailableError, back_end=BackEnd("llama.cpp")) as raised:
        LlamaCppEngine(file)
    assert str(file) not in raised.value.message


STORY = "Once there was a fox who lived beside a river and knew every stone of it. " * 6
ANSWERING = replace(SMALL, examples=(Exchange("Where did the fox live?", "Beside a river.", (STORY,)),))


def files_in(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


@asynccontextmanager
async def start(models: ModelStore, folder: Path, parallel: int = 2) -> AsyncGenerator[LlamaCppEngine]:
    """Run an engine as a new start does, on what earlier ones have kept in a folder."""
    file = models.locate_file("smollm2-135m-instruct", "language-model", "model.gguf")
    made = LlamaCppEngine(file, context_tokens=CONTEXT_TOKENS, parallel=parallel, prefix_folder=folder)
    yield made
    await made.close()


async def asked_after_warming(engine: LlamaCppEngine, *questions: str) -> list[int]:
    """Return how many tokens each of some questions, which are asked at once, reads behind the prefix."""
    model = LanguageModel(engine, ANSWERING)
    await model.warm(60.0)

    async def ask(question: str) -> int:
        prompt = Prompt(ANSWERING.system_prompt, question, ("Ready.",), ANSWERING.examples)
        async with aclosing(model.read(within(), prompt)) as counts:
            return [tokens async for tokens in counts][-1]

    return await asyncio.gather(*(ask(question) for question in questions))


async def read_at_start(engine: LlamaCppEngine, question: str = "Where did the fox live?") -> int:
    """Return how many tokens the first request reads when a prefix is restored if there is one, and kept if not."""
    messages = [Message(Role.SYSTEM, STORY), Message(Role.USER, question)]
    is_restored = await engine.restore_prefix(messages, Generation())
    tokens = await read(engine, messages)
    if not is_restored:
        await engine.keep_prefix(messages, Generation())
    return tokens


async def test_a_later_start_reads_the_prefix_from_its_file(models: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "prefixes"
    async with start(models, folder) as first:
        assert await read_at_start(first) > 100
    (file,) = files_in(folder)
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    async with start(models, folder) as second:
        assert await read_at_start(second) <= 1
        other = [Message(Role.SYSTEM, STORY), Message(Role.USER, "What did it know?")]
        assert await read(second, other) < 30
    assert files_in(folder) == [file]


async def test_questions_asked_at_once_read_nothing_of_the_prefix_in_any_slot(
    models: ModelStore, tmp_path: Path
) -> None:
    for _ in ("read", "restored"):
        async with start(models, tmp_path) as engine:
            read = await asked_after_warming(engine, "What did it know?", "Who lived beside the river?")
            assert max(read) < 30
            assert await engine.count_tokens([Message(Role.USER, STORY)]) > 100


async def test_a_restored_prefix_makes_the_same_answer(models: ModelStore, tmp_path: Path) -> None:
    question = [Message(Role.SYSTEM, STORY), Message(Role.USER, "What did the fox know?")]
    answers: list[list[str]] = []
    for _ in range(2):
        async with start(models, tmp_path) as engine:
            await read_at_start(engine)
            answers.append(await generate(engine, question))
    assert answers[0] == answers[1]


async def test_a_damaged_file_of_a_prefix_is_replaced(
    models: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(models, tmp_path) as first:
        await read_at_start(first)
    (file,) = files_in(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    async with start(models, tmp_path) as second:
        assert await read_at_start(second) > 100
    assert "damaged" in caplog.text
    async with start(models, tmp_path) as third:
        assert await read_at_start(third) <= 1


async def test_another_prefix_or_other_slots_have_another_file(models: ModelStore, tmp_path: Path) -> None:
    async with start(models, tmp_path) as engine:
        await read_at_start(engine)
    async with start(models, tmp_path) as engine:
        assert await read_at_start(engine, "What did it know?") > 100
    async with start(models, tmp_path, parallel=1) as engine:
        assert await read_at_start(engine) > 100
    assert len(files_in(tmp_path)) == 3


async def test_what_somebody_asked_is_never_kept(models: ModelStore, tmp_path: Path) -> None:
    async with start(models, tmp_path) as engine:
        await generate(engine, QUESTION, max_tokens=2)
        await read_at_start(engine)
    assert files_in(tmp_path) == []


async def test_without_a_folder_the_prefix_is_read(
    models: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        async with start(models, tmp_path / "file" / "prefixes") as engine:
            assert await read_at_start(engine) > 100
    assert len([record for record in caplog.records if "cannot be used" in record.message]) == 1
