"""What a model thinks is no part of its answer, whichever way its engine tells it; it is counted, and may be logged."""

import logging
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest

from deployments.call import Call
from deployments.errors import Limit, UnavailableError, UpstreamFailedError
from deployments.inference.language_model import LanguageModel
from deployments.values.language import (
    FinishReason,
    Generation,
    Message,
    Piece,
    Prompt,
    PromptUse,
    Reasoning,
    ReasoningEffort,
)
from tests.refusals import refused
from tests.unit.services import LARGE

SECRET = "The SECRET is what I think."
HEADLESS = (Piece("Okay"), Piece(f", {SECRET}"), Piece("\n</thi"), Piece("nk>\n"), Piece("\nIt is 4."))
TAGGED = (Piece("<think>"), Piece(SECRET), Piece("</think>"), Piece("It is 4."))
APART = (Piece(thought="The SECRET"), Piece(thought=" is what I think."), Piece("It is"), Piece(" 4."))
PLAIN = (Piece("It is"), Piece(" 4."))


@dataclass
class Engine:
    """Says what it was told to."""

    pieces: Sequence[Piece] = PLAIN
    end: FinishReason = FinishReason.STOP
    opens: bool | None = None
    description: str = "a model"
    model_name: str = "a model"
    asked: list[Generation] = field(default_factory=list[Generation])

    is_remote = True
    context_tokens = 4096
    tokens_generated = 0

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages)

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        return texts

    async def opens_thought(self, generation: Generation) -> bool | None:
        del generation
        return self.opens

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        del call, messages
        self.asked.append(generation)
        for piece in self.pieces:
            yield piece
        yield Piece(end=self.end)

    async def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        del call, messages
        self.asked.append(generation)
        yield 1

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def model_of(engine: Engine, reasoning: Reasoning | None = None) -> LanguageModel:
    return LanguageModel(engine, replace(LARGE, reasoning=reasoning or Reasoning()))


async def said(model: LanguageModel, use: PromptUse = PromptUse.ANSWER) -> list[Piece]:
    return [piece async for piece in model.generate(Call.within(5.0, "r1"), Prompt("", "?", use=use))]


async def text_of(model: LanguageModel) -> str:
    return "".join(piece.text for piece in await said(model))


class TestThoughts:
    @pytest.mark.parametrize("pieces", [HEADLESS, TAGGED, APART, PLAIN])
    @pytest.mark.parametrize("opens", [None, True])
    async def test_are_no_part_of_the_answer(self, pieces: Sequence[Piece], opens: bool | None) -> None:
        engine = Engine(pieces, opens=opens)
        model = model_of(engine)
        for _ in range(3):
            assert (await text_of(model)).strip() == "It is 4."

    @pytest.mark.parametrize("pieces", [HEADLESS, TAGGED, APART])
    async def test_are_counted(self, pieces: Sequence[Piece]) -> None:
        model = model_of(Engine(pieces))
        counted = sum(piece.thought_tokens for piece in await said(model))
        assert 3 <= counted <= 10
        call = Call.within(5.0)
        assert (await model.profile(call)).thought_tokens == counted
        assert f"about {counted} tokens of thought" in (await model.status(call)).detail

    async def test_of_a_model_that_has_none_are_not_told(self) -> None:
        model = model_of(Engine())
        await said(model)
        assert (await model.status(Call.within(5.0))).detail == "a model"

    @pytest.mark.parametrize("keeps", [True, False])
    async def test_are_logged_where_they_are_kept(self, keeps: bool, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        await said(model_of(Engine(APART), Reasoning(keeps_thoughts=keeps)))
        assert (SECRET in caplog.text, "r1" in caplog.text) == (keeps, keeps)

    async def test_that_are_kept_are_logged_in_part_where_they_are_long(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        engine = Engine((*[Piece(thought="Hm. " * 1000)] * 50, Piece("4.")))
        await said(model_of(engine, Reasoning(keeps_thoughts=True)))
        assert 20_000 <= len(caplog.text) < 21_000


class TestAnAnswerOfWhichNobodyKnowsWhereItBegins:
    @pytest.mark.parametrize(
        "name", ["DeepSeek-R1-Distill-Qwen-7B", "qwq:32b", "Qwen/Qwen3.5-9B", "ERNIE-4.5", "gpt-oss-20b"]
    )
    async def test_is_held_back_where_the_model_s_name_makes_it_likely_and_no_other_one_is(self, name: str) -> None:
        model = model_of(Engine(model_name=name))
        assert [piece.text for piece in await said(model)] == ["It is 4."]
        assert [piece.text for piece in await said(model)] == ["It is", " 4.", ""]

    async def test_is_not_held_back_where_its_thoughts_come_apart(self) -> None:
        assert [piece.text for piece in await said(model_of(Engine(APART, model_name="R1")))] == ["It is", " 4.", ""]

    async def test_is_not_held_back_where_only_the_server_s_address_makes_it_likely(self) -> None:
        model = model_of(Engine(description="OpenAI API at http://thinkpad.local:8000, llama"))
        assert [piece.text for piece in await said(model)] == ["It is", " 4.", ""]

    async def test_is_not_held_back_where_nothing_makes_it_likely(self) -> None:
        assert [piece.text for piece in await said(model_of(Engine()))] == ["It is", " 4.", ""]

    async def test_is_held_back_once_where_it_begins_like_a_thought(self) -> None:
        engine = Engine((Piece("Okay"), Piece(", it"), Piece(" is 4.")))
        model = model_of(engine)
        assert [piece.text for piece in await said(model)] == ["Okay, it is 4."]
        assert [piece.text for piece in await said(model)] == ["Okay", ", it", " is 4.", ""]

    async def test_is_told_in_the_log_where_it_was_shown_and_no_later_one_is(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = model_of(Engine((Piece("Four it is."), Piece("\n</think>\n"), Piece("4."))))
        assert (await text_of(model)).startswith("Four it is.")
        assert "answering.reasoning.starts_inside" in caplog.text
        assert await text_of(model) == "4."

    @pytest.mark.parametrize(
        "talk", ["A thought is closed by this mark:\n</think>\nThat is all.", "It writes.</think>Then it answers."]
    )
    async def test_is_shown_at_once_where_one_answer_before_it_may_have_talked_about_marks(self, talk: str) -> None:
        engine = Engine((Piece(talk),))
        model = model_of(engine)
        await said(model)
        engine.pieces = PLAIN
        assert [piece.text for piece in await said(model)] == ["It is", " 4.", ""]

    async def test_is_known_to_begin_inside_where_two_answers_did(self) -> None:
        engine = Engine((Piece("It is asked.</think>Four."),))
        model = model_of(engine)
        await said(model)
        await said(model)
        assert await text_of(model) == "Four."

    async def test_that_was_cut_is_an_answer_where_only_one_before_it_began_inside(self) -> None:
        engine = Engine((Piece("It is.\n</think>\n\nFour."),))
        model = model_of(engine)
        await said(model)
        engine.pieces, engine.end = PLAIN, FinishReason.TOKEN_LIMIT
        assert await text_of(model) == "It is 4."

    async def test_is_not_lost_where_it_breaks_off(self) -> None:
        class Breaking(Engine):
            async def generate(
                self, call: Call, messages: Sequence[Message], generation: Generation
            ) -> AsyncGenerator[Piece]:
                del call, messages, generation
                yield Piece("Okay, it is")
                raise UnavailableError("gone")

        answer = model_of(Breaking()).generate(Call.within(5.0), Prompt("", "?"))
        assert (await anext(answer)).text == "Okay, it is"
        with pytest.raises(UnavailableError):
            await anext(answer)

    async def test_is_seen_anew_for_each_effort(self) -> None:
        model = model_of(Engine(model_name="QwQ"))
        await said(model)
        assert [piece.text for piece in await said(model, PromptUse.SPOKEN_ANSWER)] == ["It is 4."]

    @pytest.mark.parametrize(
        ("opens", "starts_inside"), [(False, None), (True, False), (None, False)], ids=["engine", "setting", "setting"]
    )
    async def test_is_not_held_back_where_engine_or_setting_tell(
        self, opens: bool | None, starts_inside: bool | None
    ) -> None:
        model = model_of(Engine(opens=opens, model_name="R1"), Reasoning(starts_inside=starts_inside))
        assert [piece.text for piece in await said(model)] == ["It is", " 4.", ""]

    async def test_is_asked_about_once_it_was_seen_to_begin_inside(self, caplog: pytest.LogCaptureFixture) -> None:
        model = model_of(Engine(HEADLESS))
        await said(model)
        await said(model)
        assert caplog.text.count("answering.reasoning.starts_inside") == 1

    @pytest.mark.parametrize(("name", "text"), [("a model", "It is 4."), ("DeepSeek-R1-Distill", "")])
    async def test_is_told_by_the_models_name_where_it_was_cut(self, name: str, text: str) -> None:
        model = model_of(Engine(end=FinishReason.TOKEN_LIMIT, model_name=name))
        if text:
            assert await text_of(model) == text
        else:
            with pytest.raises(UpstreamFailedError):
                await text_of(model)


class TestAllThoughtAndNoAnswer:
    @pytest.mark.parametrize("pieces", [APART[:2], TAGGED[:2], HEADLESS[:1]])
    async def test_at_the_limit_names_the_settings_that_mend_it(self, pieces: Sequence[Piece]) -> None:
        model = model_of(
            Engine(pieces, FinishReason.TOKEN_LIMIT), Reasoning(starts_inside=True if pieces == HEADLESS[:1] else None)
        )
        with refused(UpstreamFailedError, limit=Limit("answering.max_tokens", 512)) as caught:
            await said(model)
        assert "answering.max_tokens" in caught.value.message
        assert "answering.reasoning.effort" in caught.value.message

    async def test_by_the_models_own_end_names_the_setting_that_mends_it(self) -> None:
        with pytest.raises(UpstreamFailedError, match=r"answering\.reasoning\.effort"):
            await said(model_of(Engine(APART[:2])))

    async def test_of_a_setting_that_is_wrong_names_it(self) -> None:
        with pytest.raises(UpstreamFailedError, match=r"answering\.reasoning\.starts_inside"):
            await said(model_of(Engine(HEADLESS[:1]), Reasoning(starts_inside=True)))

    async def test_is_nothing_where_nothing_was_thought_either(self) -> None:
        assert await said(model_of(Engine(()))) == [Piece(end=FinishReason.STOP)]


class TestHowMuchAModelIsToThink:
    REASONING = Reasoning(effort=ReasoningEffort.HIGH, budget_tokens=100)

    @pytest.mark.parametrize(
        ("use", "effort"),
        [
            (PromptUse.ANSWER, ReasoningEffort.HIGH),
            (PromptUse.SPOKEN_ANSWER, ReasoningEffort.NONE),
            (PromptUse.GREETING, ReasoningEffort.NONE),
        ],
    )
    async def test_depends_on_what_its_answer_is_for(self, use: PromptUse, effort: ReasoningEffort) -> None:
        engine = Engine()
        model = model_of(engine, self.REASONING)
        await said(model, use)
        [_ async for _ in model.read(Call.within(5.0), Prompt("", "?", use=use))]
        assert engine.asked == [replace(LARGE.generation, effort=effort, thought_tokens=100)] * 2

    async def test_is_left_to_the_model_where_nothing_is_said(self) -> None:
        engine = Engine()
        await said(model_of(engine))
        assert engine.asked == [LARGE.generation]
