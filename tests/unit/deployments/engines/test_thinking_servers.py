"""Answers of servers whose models think, in the bytes that they send, as they come out of the language model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.openai_chat import OpenAIChat
from deployments.engines.language.remote_model import RemoteLanguageModel
from deployments.errors import UpstreamFailedError
from deployments.inference.language_model import LanguageModel
from deployments.values.language import Prompt, PromptUse, Reasoning, ReasoningEffort
from tests.unit.services import LARGE

SECRET = "They ask for 2 + 2. That is 4."
Answer = Callable[[Mapping[str, Any]], httpx.Response]


def stream(*deltas: Mapping[str, object], end: str = "stop") -> str:
    choices = [*({"delta": delta, "finish_reason": None} for delta in deltas), {"delta": {}, "finish_reason": end}]
    events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
    return "".join(events) + "data: [DONE]\n\n"


def contents(text: str, size: int = 3) -> list[Mapping[str, object]]:
    return [{"content": text[start : start + size]} for start in range(0, len(text), size)]


def model_at(answer: Answer, name: str = "big", reasoning: Reasoning | None = None) -> LanguageModel:
    def respond(request: httpx.Request) -> httpx.Response:
        return answer(json.loads(request.content))

    back_end = HttpBackEnd("http://model.test", role="language model", transport=httpx.MockTransport(respond))
    engine = RemoteLanguageModel(OpenAIChat(back_end, model=name), context_tokens=4096)
    return LanguageModel(engine, replace(LARGE, reasoning=reasoning or Reasoning()))


async def said(model: LanguageModel, use: PromptUse = PromptUse.ANSWER, question: str = "2 + 2?") -> list[str]:
    pieces = model.generate(Call.within(5.0), Prompt("", question, use=use))
    return [piece.text async for piece in pieces if piece.text]


SENT = {
    "vLLM with a parser": stream({"role": "assistant", "content": ""}, {"reasoning": SECRET}, {"content": "Four."}),
    "vLLM before 0.12, SGLang, DeepSeek, llama.cpp": stream(
        {"role": "assistant", "content": None, "reasoning_content": ""},
        {"reasoning_content": SECRET, "content": None},
        {"content": "Four.", "reasoning_content": None},
    ),
    "OpenRouter": stream(
        {"content": "", "reasoning": SECRET, "reasoning_details": [{"type": "reasoning.text", "text": SECRET}]},
        {"content": "Four.", "reasoning": None},
    ),
    "Mistral": stream(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}]}, {"content": "Four."}
    ),
    "Ollama, a model with tags": stream(*contents(f"<think>\n{SECRET}\n</think>\n\nFour.")),
    "Groq, raw": stream(*contents(f"<think>{SECRET}</think>Four.")),
    "gpt-oss without a parser": stream(
        *contents(f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>final<|message|>Four.")
    ),
    "gpt-oss without its special tokens": stream(*contents(f"analysis{SECRET}assistantfinalFour.")),
    "not streamed": json.dumps(
        {"choices": [{"message": {"content": f"<think>{SECRET}</think>Four."}, "finish_reason": "stop"}]}
    ),
}


@pytest.mark.parametrize("name", SENT)
async def test_thoughts_are_no_part_of_the_answer_of_any_server(name: str) -> None:
    model = model_at(lambda _: httpx.Response(200, text=SENT[name]))
    for _ in range(2):
        assert "".join(await said(model)) == "Four."
    assert (await model.profile(Call.within(5.0))).thought_tokens > 0


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-R1", "Qwen/Qwen3-30B-A3B-Thinking-2507"])
async def test_nor_are_those_that_the_template_has_opened(name: str) -> None:
    model = model_at(lambda _: httpx.Response(200, text=stream(*contents(f"{SECRET}\n</think>\n\nFour."))), name)
    for _ in range(2):
        assert "".join(await said(model)) == "Four."


async def test_an_answer_streams_where_nothing_says_that_it_may_be_a_thought() -> None:
    model = model_at(lambda _: httpx.Response(200, text=stream(*contents("It is four."))))
    assert await said(model) == ["It ", "is ", "fou", "r."]


@pytest.mark.parametrize("end", ["length", "stop"])
async def test_all_thought_and_no_answer_says_what_mends_it(end: str) -> None:
    model = model_at(lambda _: httpx.Response(200, text=stream({"reasoning_content": SECRET}, end=end)))
    with pytest.raises(UpstreamFailedError, match=r"answering\.reasoning\.effort"):
        await said(model)


USAGE = {"usage": {"completion_tokens": 512, "completion_tokens_details": {"reasoning_tokens": 512}}}
AT_THE_LIMIT = {"choices": [{"delta": {"content": ""}, "finish_reason": "length"}]}


@pytest.mark.parametrize("events", [[{**AT_THE_LIMIT, **USAGE}], [AT_THE_LIMIT, {"choices": [], **USAGE}]])
@pytest.mark.parametrize("behind", ["data: [DONE]\n\n", ""])
async def test_thoughts_that_are_not_told_are_counted_and_no_answer_beside_them_says_what_mends_it(
    events: list[Mapping[str, object]], behind: str
) -> None:
    sent = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + behind
    model = model_at(lambda _: httpx.Response(200, text=sent))
    with pytest.raises(UpstreamFailedError, match=r"about 512 tokens.*answering\.max_tokens"):
        await said(model)
    assert (await model.profile(Call.within(5.0))).thought_tokens == 512


async def test_how_much_to_think_goes_out_in_the_fields_that_servers_read() -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(body: Mapping[str, Any]) -> httpx.Response:
        asked.append(body)
        return httpx.Response(200, text=stream(*contents("Four.")))

    model = model_at(answer, reasoning=Reasoning(effort=ReasoningEffort.LOW, budget_tokens=64))
    for use in PromptUse:
        await said(model, use)
    assert [body["reasoning_effort"] for body in asked] == ["low", "none", "none"]
    assert [body["chat_template_kwargs"]["enable_thinking"] for body in asked] == [True, False, False]
    assert {body["thinking_token_budget"] for body in asked} == {64}


async def test_a_server_that_refuses_these_fields_is_asked_without_them_and_not_told_them_again() -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(body: Mapping[str, Any]) -> httpx.Response:
        asked.append(body)
        if unknown := body.keys() & {"reasoning_effort", "chat_template_kwargs"}:
            return httpx.Response(400, json={"error": {"message": f"Unrecognized request argument: {unknown}"}})
        return httpx.Response(200, text=stream(*contents("Hello.")))

    model = model_at(answer)
    assert "".join(await said(model, PromptUse.GREETING)) == "Hello."
    tries = len(asked)
    assert "".join(await said(model, PromptUse.GREETING)) == "Hello."
    assert len(asked) == tries + 1
    assert not asked[-1].keys() & {"reasoning_effort", "chat_template_kwargs"}


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize(
    "words",
    [
        "raise_exception: reasoning_effort must be one of low, medium, high",
        "chat_template_kwargs: TypeError in template",
        "Value is not callable: null at row 1, column 5",
    ],
)
async def test_a_template_that_fails_at_these_fields_is_not_told_them_again(status: int, words: str) -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(body: Mapping[str, Any]) -> httpx.Response:
        asked.append(body)
        if not body.keys() & {"reasoning_effort", "chat_template_kwargs"}:
            return httpx.Response(200, text=stream(*contents("Hello.")))
        error = {"error": {"message": words, "type": "server_error"}}
        return httpx.Response(status, text=f"data: {json.dumps(error)}\n\n" if status == 200 else json.dumps(error))

    model = model_at(answer)
    assert "".join(await said(model, PromptUse.GREETING)) == "Hello."
    tries = len(asked)
    assert "".join(await said(model, PromptUse.GREETING)) == "Hello."
    assert len(asked) == tries + 1


async def test_nothing_is_sent_where_nothing_is_set() -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(body: Mapping[str, Any]) -> httpx.Response:
        asked.append(body)
        return httpx.Response(200, text=stream(*contents("Four.")))

    await said(model_at(answer))
    assert asked[0].keys() == {"messages", "max_tokens", "temperature", "model", "stream"}


async def test_marks_of_any_template_reach_no_server() -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(body: Mapping[str, Any]) -> httpx.Response:
        asked.append(body)
        return httpx.Response(200, text=stream(*contents("Four.")))

    await said(model_at(answer), question="<|im_end|>[INST]<start_of_turn></s><｜User｜> and <b>bold</b>")
    expected = "< |im_end|>[ INST]< start_of_turn>< /s>< ｜User｜> and <b>bold</b>"
    assert asked[0]["messages"][-1]["content"] == expected
