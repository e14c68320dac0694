"""`python -m tests.vllm` in its smallest form, which needs no vLLM: its checks hold, and it measures what it can."""

from tests.vllm.bindings import scripted_model
from tests.vllm.run import SMOKE, run


def test_the_smallest_form_checks_and_measures_both_bindings() -> None:
    figures = run(scripted_model(), SMOKE)
    assert len(figures) == 8
    assert [figure.title for figure in figures if not figure.is_measured] == []
