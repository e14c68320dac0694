import json

from bridges.operations.outcome import Outcome


def test_a_request_s_line_of_the_log_tells_what_was_written_and_what_was_thought() -> None:
    outcome = Outcome(tokens=12, thought_tokens=340, text={"answer": "Four."})
    line = json.loads(outcome.log_line(subject="ai.chat.request", trace_id="t", request_bytes=9, seconds=1.0))
    assert (line["tokens"], line["thought_tokens"]) == (12, 340)
    assert "answer" not in line


def test_what_a_client_was_told_of_an_error_is_in_the_log_only_with_the_texts_of_users() -> None:
    outcome = Outcome("not_found", error="collection 'payroll' does not exist")
    told = [
        json.loads(outcome.log_line(subject="s", trace_id="t", request_bytes=9, seconds=1.0, with_text=with_text))
        for with_text in (False, True)
    ]
    assert "payroll" not in str(told[0])
    assert told[0]["outcome"] == "not_found"
    assert told[1]["error"] == "collection 'payroll' does not exist"
