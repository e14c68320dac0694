import json

from bridges.operations.outcome import Outcome


def test_a_request_s_line_of_the_log_tells_what_was_written_and_what_was_thought() -> None:
    outcome = Outcome(tokens=12, thought_tokens=340, text={"answer": "Four."})
    line = json.loads(outcome.log_line(subject="ai.chat.request", trace_id="t", request_bytes=9, seconds=1.0))
    assert (line["tokens"], line["thought_tokens"]) == (12, 340)
    assert "answer" not in line
