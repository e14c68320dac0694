import pytest

from bridges.sessions.turn_log import AnswerTimes, TurnStages


@pytest.mark.parametrize(("tokens", "detail"), [(0, ""), (340, "about 340 tokens of thought")])
def test_a_turn_tells_what_was_thought_before_its_first_token(tokens: int, detail: str) -> None:
    stages = TurnStages()
    stages.answered(AnswerTimes(1.0, None, 0, 4.0, 5.0, 12, 0.0, 0.0, 0.0, thought_tokens=tokens))
    assert stages.stages == [("think", 1.0, 4.0, detail), ("write", 4.0, 5.0, "12 tokens")]
