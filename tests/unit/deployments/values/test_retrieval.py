import pytest

from deployments.values.retrieval import Citation, Passage


@pytest.mark.parametrize(
    ("passage", "cited"),
    [
        (Passage("t", "roof.md"), "roof.md"),
        (Passage("t", "roof.md", "The roof"), "roof.md"),
        (Passage("t", "roof.md", "The roof > Tiles"), "roof.md (Tiles)"),
        (Passage("t", "roof.md", "The roof > Tiles > Old ones"), "roof.md (Old ones)"),
        (Passage("t", "pump.pdf", "Pump > Oil change", page=12), "pump.pdf (Oil change, page 12)"),
        (Passage("t", "pump.pdf", "Pump", page=12), "pump.pdf (page 12)"),
        (Passage("t", "pump.pdf", page=1), "pump.pdf (page 1)"),
        (Passage("t", "", "Pump > Oil change", page=12), "Pump > Oil change, page 12"),
        (Passage("t", "", page=12), "page 12"),
        (Passage("t", ""), ""),
    ],
)
def test_a_citation_names_the_document_and_the_place_in_it(passage: Passage, cited: str) -> None:
    assert passage.citation.text == cited


def test_a_long_heading_is_cut_in_a_citation() -> None:
    text = Citation("roof.md", "word " * 100, 3).text
    assert text.startswith("roof.md (word word")
    assert text.endswith("word…, page 3)")
    assert len(text) < 130
