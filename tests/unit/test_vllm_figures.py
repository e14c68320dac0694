"""What `python -m tests.vllm` makes of its measurements."""

import json
from pathlib import Path

from tests.vllm.bindings import Model, Way
from tests.vllm.measurements import Samples, advice, compared
from tests.vllm.timed_engine import Chat, chats

SAMPLES = {
    Way.HTTP: Samples([0.010, 0.020], [1.0], [0.040]),
    Way.HANDLE: Samples([0.004, 0.016], [0.5], [0.020]),
    Way.OWN: Samples([0.002, 0.004], [0.4], [0.060]),
}


def test_the_ways_by_handle_are_held_against_http_in_pairs() -> None:
    lines = {figure.title: figure.line() for figure in compared(SAMPLES)}
    assert "at most 0.5: MISSED" in lines["by handle / over HTTP: added to the first token"]
    assert "0.2" in lines["in its place / over HTTP: added to the first token"]
    assert "at most 0.6: met" in lines["in its place / over HTTP: CPU per 256 tokens"]


def test_an_abort_is_held_against_its_bar_for_bindings_by_handle_alone() -> None:
    lines = {figure.title: figure.line() for figure in compared(SAMPLES)}
    title = "{}: answer left to its abort in the engine, p99 of 1"
    assert "at most 50: met" in lines[title.format("by handle")]
    assert "at most 50: MISSED" in lines[title.format("in its place")]
    assert "at most" not in lines[title.format("over HTTP")]


def test_the_cheaper_binding_is_told() -> None:
    assert advice(compared(SAMPLES)) == "the cheaper binding here: in its place"


def test_without_http_there_are_no_ratios() -> None:
    figures = compared({way: SAMPLES[way] for way in (Way.HANDLE, Way.OWN)})
    assert [figure.title for figure in figures if " / " in figure.title] == []


def test_a_deployment_is_called_as_ray_serve_llm_calls_it() -> None:
    assert Model("org/small.v2", None).deployment == "RayLanguageModel:org--small_v2"


def test_records_of_chats_are_read_as_they_were_written(tmp_path: Path) -> None:
    chat = Chat("Tell me", 1.0, 1.5, None, 7, prompt_tokens=12, cached_tokens=8)
    file = tmp_path / "chats.jsonl"
    fields = {name: getattr(chat, name) for name in Chat.__dataclass_fields__}
    file.write_text(json.dumps(fields) + "\n")
    assert chats(file) == [chat]
