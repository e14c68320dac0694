"""The table of subjects agrees with the contract, and the page with the table."""

from pathlib import Path

import pytest

from bridges.generate import SUBJECTS_PAGE, page_with_subjects
from bridges.requests import REQUESTS
from bridges.subject_pages import BEGIN, END
from bridges.subjects import SUBJECTS, Direction, Role, Subject
from tests.contract.contract import ANSWER_SUBJECTS, REQUEST_SUBJECTS

CONTRACT = REQUEST_SUBJECTS.keys() | ANSWER_SUBJECTS.keys()
TABLE = {row.pattern: row for row in SUBJECTS}


def names(row: Subject) -> set[str]:
    return {message.DESCRIPTOR.full_name for message in row.messages}


def test_every_subject_stands_once_in_the_table() -> None:
    assert len(TABLE) == len(SUBJECTS)


@pytest.mark.parametrize(("pattern", "message"), REQUEST_SUBJECTS.items())
def test_a_request_of_the_contract_is_taken_with_its_message(pattern: str, message: str) -> None:
    row = TABLE[pattern]
    assert row.direction is Direction.REQUEST
    assert names(row) == ({f"messages.v1.{message}"} if message else set())
    assert pattern in {request.subject.pattern for request in REQUESTS}


@pytest.mark.parametrize(("pattern", "messages"), ANSWER_SUBJECTS.items())
def test_an_answer_of_the_contract_goes_where_clients_listen(pattern: str, messages: set[str]) -> None:
    row = TABLE[pattern]
    assert row.direction is Direction.ANSWER
    assert names(row) == {f"messages.v1.{message}" for message in messages}
    assert Role.CLIENT in row.subscribers
    assert any(row in request.answers for request in REQUESTS)


def test_subjects_of_our_own_stand_apart() -> None:
    own = [row for row in SUBJECTS if row.pattern not in CONTRACT and not row.pattern.startswith(("$", "_"))]
    assert own
    assert all(row.pattern.startswith("hearth.") for row in own)


def test_no_message_arrives_on_two_rows() -> None:
    for request in REQUESTS:
        concrete = request.subject.wildcard.replace("*", "x")
        assert [row for row in SUBJECTS if row.parameters(concrete) is not None] == [request.subject]


def test_every_request_of_a_client_is_answered_by_a_row() -> None:
    asked = {row for row in SUBJECTS if row.direction is Direction.REQUEST and Role.CLIENT in row.publishers}
    assert asked == {request.subject for request in REQUESTS}


def test_the_methods_have_the_names_that_the_graph_knows_them_by() -> None:
    assert {request.name: request.method_name for request in REQUESTS} == {
        "chat-message": "Chat.answer",
        "chat-request": "Chat.answer",
        "login": "Chat.warm",
        "greeting": "Chat.greet",
        "documents-ingest": "Ingestion.ingest",
        "documents-delete": "Ingestion.delete",
        "documents-list": "Ingestion.documents",
        "voice-request": "Voice.answer_recording",
        "audio-stream": "Transcription.hear",
        "speech-request": "Speech.say",
        "voices-list": "Speech.voices",
        "voices-refresh": "Speech.voices",
        "pipeline-trigger": "Pipelines.trigger",
        "pipelines-list": "Pipelines.describe",
        "status": "Chat.components",
    }


def test_the_page_has_the_table_as_it_is() -> None:
    assert SUBJECTS_PAGE.read_text(encoding="utf-8") == page_with_subjects(SUBJECTS_PAGE)


def test_the_page_names_every_subject() -> None:
    page = SUBJECTS_PAGE.read_text(encoding="utf-8")
    assert [row.pattern for row in SUBJECTS if f"| `{row.pattern}` |" not in page] == []


def test_a_table_that_is_stale_is_written_anew_and_nothing_around_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n| `ai.chat.request` | `LoginEvent` |\n{END}\nafter\n")
    written = page_with_subjects(page)
    assert written.startswith(f"before\n{BEGIN}\n")
    assert written.endswith(f"\n{END}\nafter\n")
    assert "| `ai.chat.request` | `ChatRequest` |" in written
    page.write_text(written)
    assert page_with_subjects(page) == written


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_one_place_for_the_table_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="the page needs"):
        page_with_subjects(page)
