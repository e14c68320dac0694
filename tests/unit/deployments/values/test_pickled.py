"""What a request carries from replica to replica arrives as it was sent."""

import pickle

import pytest

from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation
from deployments.values.language import Exchange, FinishReason, Piece, Prompt, PromptUse
from deployments.values.retrieval import Passage, Ranking, RetrievalQuery

PASSAGE = Passage("text", "source.md", "Heading", 0.5)
EXCHANGE = Exchange("question", "answer", ("passage",))


@pytest.mark.parametrize(
    "value",
    [
        PASSAGE,
        Ranking(3, 0.25),
        RetrievalQuery("question", "collection", 3, rerank=True),
        EXCHANGE,
        Prompt("system", "question", ("passage",), (EXCHANGE,), (EXCHANGE,), PromptUse.GREETING),
        ChatQuestion("question", history=(EXCHANGE,), preparation=Preparation("question", (PASSAGE,))),
        AnswerEnd((PASSAGE,), used_retrieval=True, stages={"total": 0.5}, error="error", error_kind="internal"),
        AnswerToken("token"),
        Piece("token", "thought", FinishReason.STOP, 2),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_arrives_as_it_was_sent(value: object, protocol: int) -> None:
    arrived = pickle.loads(pickle.dumps(value, protocol))
    assert arrived == value
    assert type(arrived) is type(value)
