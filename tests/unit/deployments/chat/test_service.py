"""Chat: what an answer is made of, and how each failure ends."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from deployments.call import Call
from deployments.chat import service as chat_service
from deployments.chat.service import Chat
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.vectors.openai_embeddings import OpenAIEmbeddings
from deployments.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    ReplicaLostError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.inference.embeddings import Embeddings
from deployments.retrieval.service import Retrieval
from deployments.settings.orchestration import MilvusSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, PreparationUse
from deployments.values.language import Exchange, FinishReason, PromptUse
from deployments.values.retrieval import Passage
from deployments.values.vectors import Vectors
from tests.unit.services import LARGE, SMALL, ScriptedModel, ScriptedRetrieval, ShortestFirst


class NoStore:
    """Is never searched."""

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        raise AssertionError("nothing can be searched for")

    async def check(self, call: Call) -> str:
        raise AssertionError("nobody asks")


DOGS = Passage("Dogs are welcome in the hotel. A dog costs 15 euros a night. Cats stay home. Fish swim.", "hotel.md")
POOL = Passage("The pool opens at seven.", "pool.md", headings="Hotel > Pool")


async def answer(chat: Chat, question: ChatQuestion) -> tuple[list[str], AnswerEnd]:
    items = [item async for item in chat.answer(Call.within(5.0), question)]
    tokens = [item.text for item in items if isinstance(item, AnswerToken)]
    end = items[-1]
    assert isinstance(end, AnswerEnd)
    assert len(tokens) == len(items) - 1, "an answer has one end, and it is last"
    return tokens, end


async def test_tokens_come_one_by_one_and_the_end_last() -> None:
    tokens, end = await answer(Chat(ScriptedModel(), ScriptedRetrieval()), ChatQuestion("Hi"))
    assert tokens == ["Hello", " there", "."]
    assert end.error == end.error_kind == ""
    assert not end.used_retrieval
    assert {"first_token", "generate", "total"} <= end.stages.keys()


async def test_nothing_is_retrieved_unless_asked_for() -> None:
    retrieval = ScriptedRetrieval((DOGS,))
    await answer(Chat(ScriptedModel(), retrieval), ChatQuestion("Hi"))
    assert retrieval.queries == []


async def test_the_question_s_wishes_reach_retrieval_and_model() -> None:
    model, retrieval = ScriptedModel(), ScriptedRetrieval((DOGS, POOL))
    question = ChatQuestion(
        "Dogs?", retrieve=True, rerank=True, top_k=2, collection="rules", system_prompt="Be a pirate."
    )
    _, end = await answer(Chat(model, retrieval), question)
    query = retrieval.queries[0]
    assert (query.text, query.collection, query.top_k, query.rerank) == ("Dogs?", "rules", 2, True)
    prompt = model.prompts[0]
    assert prompt.system == "Be a pirate."
    assert prompt.passages == (DOGS.text, f"Hotel > Pool\n{POOL.text}")
    assert end.used_retrieval
    assert end.passages == (DOGS, POOL)


@pytest.mark.parametrize(("spoken", "use"), [(False, PromptUse.ANSWER), (True, PromptUse.SPOKEN_ANSWER)])
async def test_the_model_is_told_whether_its_answer_is_heard(spoken: bool, use: PromptUse) -> None:
    model, question = ScriptedModel(), ChatQuestion("Hi", spoken=spoken)
    chat = Chat(model, ScriptedRetrieval())
    await answer(chat, question)
    [_ async for _ in chat.read(Call.within(5.0), question)]
    assert [prompt.use for prompt in (*model.prompts, *model.read_prompts)] == [use, use]


async def test_a_greeting_is_asked_for_without_thought() -> None:
    model = ScriptedModel(["Hello Anna!"])
    await Chat(model, ScriptedRetrieval()).greet(Call.within(5.0), "Anna")
    assert model.prompts[0].use is PromptUse.GREETING


async def test_the_end_of_an_answer_tells_how_much_was_thought_for_it() -> None:
    _, end = await answer(Chat(ScriptedModel(thought_tokens=7), ScriptedRetrieval()), ChatQuestion("Hi"))
    assert end.thought_tokens == 7


async def test_a_small_model_sees_one_passage_and_its_examples_a_large_one_more_and_none() -> None:
    small, large = ScriptedModel(["Dogs", " are", " welcome", "."], answering=SMALL), ScriptedModel()
    for model in (small, large):
        await answer(Chat(model, ScriptedRetrieval((DOGS, POOL))), ChatQuestion("Dogs?", retrieve=True))
    assert (len(small.prompts[0].passages), len(small.prompts[0].examples)) == (1, 1)
    assert (len(large.prompts[0].passages), len(large.prompts[0].examples)) == (2, 0)


async def test_examples_are_left_out_where_there_is_no_passage() -> None:
    model = ScriptedModel(answering=SMALL)
    await answer(Chat(model, ScriptedRetrieval()), ChatQuestion("Hi"))
    assert model.prompts[0].examples == ()
    assert isinstance(SMALL.examples[0], Exchange)


async def test_a_sentence_that_stands_in_the_passage_is_released_token_by_token() -> None:
    model = ScriptedModel([" A", " dog", " costs", " 15", " euros", "."], answering=SMALL)
    tokens, end = await answer(Chat(model, ScriptedRetrieval((DOGS,))), ChatQuestion("Price?", retrieve=True))
    assert tokens == ["A", " dog", " costs", " 15", " euros", "."]
    assert end.used_retrieval


async def test_an_invented_sentence_is_never_seen_and_the_passage_is_quoted() -> None:
    model = ScriptedModel(["A", " dog", " costs", " 90", " euros", "."], answering=SMALL)
    tokens, end = await answer(Chat(model, ScriptedRetrieval((DOGS,))), ChatQuestion("Price?", retrieve=True))
    text = "".join(tokens)
    assert text == "From hotel.md: “Dogs are welcome in the hotel.”"
    assert len(tokens) > 5, "a quotation is streamed too"
    assert end.error == ""


async def test_a_model_is_stopped_at_the_word_that_no_passage_says() -> None:
    model = ScriptedModel(["A dog costs 90", " euros", " a night", " and more."], answering=SMALL)
    tokens, _ = await answer(Chat(model, ScriptedRetrieval((DOGS,))), ChatQuestion("Price?", retrieve=True))
    assert "".join(tokens) == "From hotel.md: “Dogs are welcome in the hotel.”"
    assert (model.made, model.closed) == (2, True)


async def test_a_model_that_is_not_shown_what_answers_the_question_is_not_asked() -> None:
    model = ScriptedModel(["Dogs are welcome in the hotel."], answering=SMALL)
    found = ScriptedRetrieval((DOGS, POOL))
    tokens, end = await answer(Chat(model, found), ChatQuestion("When does the pool open?", retrieve=True))
    assert "The pool opens at seven." in "".join(tokens)
    assert (model.prompts, end.error) == ([], "")


async def test_what_was_right_stands_and_only_the_rest_is_quoted() -> None:
    model = ScriptedModel(["Dogs are welcome in the hotel.", " They fly", " at 5000 m.", " Really."], answering=SMALL)
    tokens, _ = await answer(Chat(model, ScriptedRetrieval((DOGS,))), ChatQuestion("Dogs?", retrieve=True))
    text = "".join(tokens)
    assert text.startswith("Dogs are welcome in the hotel.")
    assert "From hotel.md: “" in text
    assert "5000" not in text
    assert model.closed, "the model is stopped once it invents"


async def test_an_answer_cut_off_by_its_token_limit_keeps_its_whole_sentences() -> None:
    model = ScriptedModel(["Dogs are welcome in the hotel.", " A dog costs"], FinishReason.TOKEN_LIMIT, SMALL)
    tokens, end = await answer(Chat(model, ScriptedRetrieval((DOGS,))), ChatQuestion("Dogs?", retrieve=True))
    assert "".join(tokens).strip() == "Dogs are welcome in the hotel."
    assert "limit of 48 tokens" in end.error
    assert end.unfinished == ""


async def test_an_answer_cut_off_by_its_token_limit_stands_and_says_so_and_where() -> None:
    model = ScriptedModel(["A dog costs 15.", " Cats", " st"], FinishReason.TOKEN_LIMIT)
    tokens, end = await answer(Chat(model, ScriptedRetrieval()), ChatQuestion("Dogs?"))
    assert "".join(tokens) == "A dog costs 15. Cats st"
    assert end.error == "the answer was cut at its limit of 512 tokens, `answering.max_tokens`"
    assert (end.error_kind, end.unfinished) == ("", "Cats st")


async def test_an_answer_that_a_content_filter_cuts_says_so() -> None:
    model = ScriptedModel(["You take the"], FinishReason.CONTENT_FILTER)
    _, end = await answer(Chat(model, ScriptedRetrieval()), ChatQuestion("How?"))
    assert (end.error_kind, end.unfinished) == ("", "You take the")
    assert "content filter" in end.error
    _, end = await answer(Chat(ScriptedModel([], FinishReason.CONTENT_FILTER), ScriptedRetrieval()), ChatQuestion("?"))
    assert end.error_kind == "upstream_failed"


async def test_a_quotation_in_place_of_what_was_cut_off_is_whole() -> None:
    model = ScriptedModel(["A dog costs 90"], FinishReason.TOKEN_LIMIT, SMALL)
    tokens, end = await answer(Chat(model, ScriptedRetrieval((DOGS,))), ChatQuestion("Price?", retrieve=True))
    assert "".join(tokens) == "From hotel.md: “Dogs are welcome in the hotel.”"
    assert end.error == end.unfinished == ""


async def test_the_whole_passage_is_quoted_when_its_sentences_cannot_be_ranked() -> None:
    retrieval = ScriptedRetrieval((POOL,), sentences_error=UnavailableError("no reranker"))
    model = ScriptedModel(["It opens at 99."], answering=SMALL)
    tokens, end = await answer(Chat(model, retrieval), ChatQuestion("When?", retrieve=True))
    assert "".join(tokens) == "From pool.md (Pool): “The pool opens at seven.”"
    assert end.error == ""


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
async def test_an_empty_question_is_refused(text: str) -> None:
    tokens, end = await answer(Chat(ScriptedModel(), ScriptedRetrieval()), ChatQuestion(text))
    assert tokens == []
    assert end.error_kind == InvalidRequestError.kind
    assert "message" in end.error
    assert "query" in end.error


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("Milvus is down"),
        UpstreamFailedError("x"),
        UpstreamFailedError("the embeddings server refuses it", retryable=False),
        OverloadedError("x"),
        PayloadTooLargeError("x"),
    ],
)
async def test_without_retrieval_there_is_still_an_answer(error: Exception) -> None:
    retrieval = ScriptedRetrieval(error=error)  # pyright: ignore[reportArgumentType]
    tokens, end = await answer(Chat(ScriptedModel(), retrieval), ChatQuestion("Hi", retrieve=True))
    assert tokens == ["Hello", " there", "."]
    assert not end.used_retrieval
    assert end.error_kind == ""


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503])
async def test_an_embeddings_server_that_refuses_costs_the_passages_and_not_the_answer(status: int) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text="no"))
    embeddings = OpenAIEmbeddings(
        HttpBackEnd("http://model.test", role="embeddings server", transport=transport), model="m"
    )
    retrieval = Retrieval(Embeddings(embeddings), ShortestFirst(), NoStore(), MilvusSettings())
    tokens, end = await answer(Chat(ScriptedModel(), retrieval), ChatQuestion("Hi", retrieve=True))
    assert tokens == ["Hello", " there", "."]
    assert (end.error_kind, end.used_retrieval, end.passages) == ("", False, ())


async def test_an_unknown_collection_is_the_client_s_mistake() -> None:
    retrieval = ScriptedRetrieval(error=NotFoundError("collection 'x' does not exist"))
    tokens, end = await answer(Chat(ScriptedModel(), retrieval), ChatQuestion("Hi", retrieve=True, collection="x"))
    assert tokens == []
    assert (end.error_kind, end.error) == ("not_found", "collection 'x' does not exist")


async def test_a_model_that_breaks_off_leaves_the_text_so_far() -> None:
    model = ScriptedModel(["So", " far"], error=UnavailableError("the replica is gone"))
    tokens, end = await answer(Chat(model, ScriptedRetrieval()), ChatQuestion("Hi"))
    assert tokens == ["So", " far"]
    assert end.error == "the answer broke off: the replica is gone"
    assert (end.error_kind, end.replica_lost) == ("unavailable", False)


async def test_a_model_whose_replica_is_lost_may_be_asked_again_at_once() -> None:
    model = ScriptedModel(["So", " far"], error=ReplicaLostError("it is gone"))
    _, end = await answer(Chat(model, ScriptedRetrieval()), ChatQuestion("Hi"))
    assert (end.error_kind, end.replica_lost) == ("unavailable", True)


@pytest.mark.parametrize(
    "model",
    [
        ScriptedModel([], error=UpstreamFailedError("out of memory")),
        ScriptedModel(unavailable=UpstreamFailedError("out of memory")),
    ],
)
async def test_a_model_that_fails_before_any_text_fails_the_answer(model: ScriptedModel) -> None:
    tokens, end = await answer(Chat(model, ScriptedRetrieval()), ChatQuestion("Hi"))
    assert tokens == []
    assert (end.error_kind, end.error) == ("upstream_failed", "out of memory")


async def test_a_model_that_says_nothing_is_not_taken_for_an_answer() -> None:
    _, end = await answer(Chat(ScriptedModel([" ", "\n"]), ScriptedRetrieval()), ChatQuestion("Hi"))
    assert end.error_kind == "unavailable"


async def test_leaving_an_answer_stops_the_model() -> None:
    model = ScriptedModel(["token "] * 1000)
    async with aclosing(Chat(model, ScriptedRetrieval()).answer(Call.within(5.0), ChatQuestion("Hi"))) as items:
        await anext(items)
    assert model.closed
    assert model.made < 5


@pytest.mark.parametrize(
    ("tokens", "greeting"),
    [
        (["Hello", " Anna", ",", " nice to see you!", " How are you?"], "Hello Anna, nice to see you! How are you?"),
        (["Hello Anna.", " Sit down.", " Third.", " Fourth."], "Hello Anna. Sit down."),
        (["Welcome back!"], "Hello Anna! Welcome back!"),
    ],
)
async def test_a_greeting_is_short_and_calls_by_name(tokens: list[str], greeting: str) -> None:
    model = ScriptedModel(tokens, answering=SMALL)
    assert await Chat(model, ScriptedRetrieval()).greet(Call.within(5.0), "Anna") == greeting
    assert model.prompts[0].question == "My name is Anna."
    assert model.closed


async def test_a_greeting_has_no_sentence_that_was_cut_off() -> None:
    chat = Chat(ScriptedModel(["Hello Anna!", " How are y"], FinishReason.TOKEN_LIMIT), ScriptedRetrieval())
    assert await chat.greet(Call.within(5.0), "Anna") == "Hello Anna!"


@pytest.mark.parametrize(
    ("name", "called"), [("", "there"), (" \n", "there"), ("Li\n\nIgnore", "Li Ignore"), ("x" * 500, "x" * 64)]
)
async def test_a_name_is_one_short_line(name: str, called: str) -> None:
    model = ScriptedModel(["Hello!"])
    assert await Chat(model, ScriptedRetrieval()).greet(Call.within(5.0), name) == f"Hello {called}! Hello!"


async def test_no_greeting_is_made_up_without_the_model() -> None:
    with pytest.raises(UnavailableError):
        await Chat(ScriptedModel([" "]), ScriptedRetrieval()).greet(Call.within(5.0), "Anna")
    with pytest.raises(UpstreamFailedError):
        await Chat(ScriptedModel([], error=UpstreamFailedError("x")), ScriptedRetrieval()).greet(Call.within(5.0), "A")


async def test_warming_asks_for_all_that_a_first_question_needs_and_fails_at_nothing() -> None:
    model, retrieval = ScriptedModel(), ScriptedRetrieval((DOGS,))
    chat = Chat(model, retrieval)
    await chat.warm(Call.within(5.0))
    assert retrieval.queries[0].rerank
    assert model.made == 0
    broken = Chat(ScriptedModel(unavailable=UnavailableError("x")), ScriptedRetrieval(error=UnavailableError("y")))
    await broken.warm(Call.within(5.0))


async def test_a_thousand_logins_are_one_retrieval_until_the_warmth_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    retrieval = ScriptedRetrieval((DOGS,))
    chat = Chat(ScriptedModel(), retrieval)
    await asyncio.gather(*(chat.warm(Call.within(5.0)) for _ in range(1000)))
    assert len(retrieval.queries) == 1
    monkeypatch.setattr(chat_service, "_WARM_FOR_S", 0.0)
    await chat.warm(Call.within(5.0))
    assert len(retrieval.queries) == 2


HISTORY = (Exchange("May I bring a dog?", "Yes."), Exchange("Where is the pool?", "Behind the house."))


async def test_a_follow_up_is_searched_for_with_the_question_that_it_leans_on() -> None:
    model, retrieval = ScriptedModel(answering=SMALL), ScriptedRetrieval((DOGS,))
    question = ChatQuestion("And what does it cost?", retrieve=True, history=HISTORY)
    await answer(Chat(model, retrieval), question)
    assert retrieval.queries[0].text == "Where is the pool? And what does it cost?"
    assert model.prompts[0].question == "Where is the pool? And what does it cost?"
    assert model.prompts[0].history == ()


async def test_a_model_that_sees_the_turns_before_is_asked_as_the_user_did() -> None:
    answering = replace(LARGE, history=1, history_with_passages=2)
    for passages, shown in (((), HISTORY[1:]), ((DOGS,), HISTORY)):
        model = ScriptedModel(answering=answering)
        question = ChatQuestion("And what does it cost?", retrieve=True, history=HISTORY)
        await answer(Chat(model, ScriptedRetrieval(passages)), question)
        assert model.prompts[0].history == shown
        assert model.prompts[0].question == "And what does it cost?"


async def test_components_are_told_even_when_some_cannot_be_asked() -> None:
    model = ScriptedModel(unavailable=UnavailableError("gone"))
    components = await Chat(model, ScriptedRetrieval()).components(Call.within(5.0))
    assert [(part.name, part.ready) for part in components] == [
        ("Chat", True),
        ("LanguageModel", False),
        ("Retrieval", True),
    ]


READ = ("The warranty is three years.",)


class TestPreparation:
    """A question is looked up, and its prompt read, before it is whole."""

    PARTLY = ChatQuestion("How long is the", retrieve=True, rerank=True)
    WHOLE = replace(PARTLY, text="How long is the warranty?")
    FOUND = (Passage("The warranty is three years.", "rules.md"), Passage("It ends.", "end.md"))
    OTHERS = (Passage("The river is long.", "river.md"),)

    async def test_passages_are_found_for_what_is_known(self) -> None:
        model = ScriptedModel(answering=SMALL)
        prepared = await Chat(model, ScriptedRetrieval(self.FOUND)).prepare(Call.within(5), self.PARTLY)
        assert (prepared.question, prepared.passages, prepared.read) == ("How long is the", self.FOUND, READ)
        assert (model.read_prompts, model.prompts) == ([], [])

    async def test_the_model_reads_the_prompt_as_far_as_it_is_known(self) -> None:
        model = ScriptedModel(answering=SMALL)
        chat = Chat(model, ScriptedRetrieval(self.FOUND))
        prepared = await chat.prepare(Call.within(5), self.PARTLY)
        reading = chat.read(Call.within(5), replace(self.PARTLY, preparation=prepared))
        assert [tokens async for tokens in reading] == [10, 14]
        assert model.read_prompts[0].passages == READ
        assert model.read_prompts[0].question == "How long is the"

    async def test_what_stands_before_any_question_can_be_read(self) -> None:
        model = ScriptedModel(answering=SMALL)
        reading = Chat(model, ScriptedRetrieval()).read(Call.within(5), replace(self.PARTLY, text=""))
        assert [tokens async for tokens in reading]
        assert (model.read_prompts[0].examples, model.read_prompts[0].question) == (SMALL.examples, "")

    async def test_what_is_found_again_is_shown_in_the_order_in_which_it_was_read(self) -> None:
        retrieval = ScriptedRetrieval(self.FOUND)
        chat = Chat(ScriptedModel(answering=LARGE), retrieval)
        first = await chat.prepare(Call.within(5), self.PARTLY)
        retrieval.passages = (*self.OTHERS, *reversed(self.FOUND))
        second = await chat.prepare(Call.within(5), replace(self.WHOLE, preparation=first))
        assert second.passages == retrieval.passages
        assert second.read == tuple(passage.text for passage in (*self.FOUND, *self.OTHERS))

    async def test_the_same_question_is_not_looked_up_again(self) -> None:
        retrieval = ScriptedRetrieval(self.FOUND)
        chat = Chat(ScriptedModel(answering=SMALL, tokens=("Three years.",)), retrieval)
        prepared = await chat.prepare(Call.within(5), self.WHOLE)
        _, end = await answer(chat, replace(self.WHOLE, text="how long is the warranty", preparation=prepared))
        assert len(retrieval.queries) == 1
        assert (end.preparation, end.passages) == (PreparationUse.KEPT, self.FOUND)

    async def test_a_question_that_went_on_is_looked_up_again_and_keeps_what_was_read(self) -> None:
        retrieval = ScriptedRetrieval(self.FOUND)
        chat = Chat(ScriptedModel(answering=SMALL, tokens=("Three years.",)), retrieval)
        prepared = await chat.prepare(Call.within(5), self.PARTLY)
        retrieval.passages = tuple(replace(passage, score=0.1) for passage in self.FOUND)
        _, end = await answer(chat, replace(self.WHOLE, preparation=prepared))
        assert len(retrieval.queries) == 2
        assert (end.preparation, end.preparation_kept) == (PreparationUse.PREFIX, 1.0)

    async def test_what_was_read_for_other_passages_is_thrown_away_and_counted(self) -> None:
        retrieval = ScriptedRetrieval(self.OTHERS)
        chat = Chat(ScriptedModel(answering=SMALL, tokens=("Three years.",)), retrieval)
        first = replace(await chat.prepare(Call.within(5), self.PARTLY), tokens_read=14)
        retrieval.passages = self.FOUND
        second = await chat.prepare(Call.within(5), replace(self.WHOLE, preparation=first))
        assert (second.tokens_wasted, second.tokens_read) == (14, 14)
        _, end = await answer(chat, replace(self.WHOLE, preparation=first))
        assert end.preparation is PreparationUse.THROWN_AWAY

    async def test_a_search_that_failed_is_done_again(self) -> None:
        retrieval = ScriptedRetrieval(error=UnavailableError("Milvus is away"))
        chat = Chat(ScriptedModel(answering=SMALL, tokens=("Three years.",)), retrieval)
        prepared = await chat.prepare(Call.within(5), self.WHOLE)
        retrieval.error, retrieval.passages = None, self.FOUND
        _, end = await answer(chat, replace(self.WHOLE, preparation=prepared))
        assert end.passages == self.FOUND

    async def test_nothing_cannot_be_prepared_for(self) -> None:
        with pytest.raises(InvalidRequestError):
            await Chat(ScriptedModel(), ScriptedRetrieval()).prepare(Call.within(5), ChatQuestion(" "))
