from unicodedata import normalize

from deployments.values.names import document_name, forms_of


def test_one_name_is_kept_for_all_forms() -> None:
    name = normalize("NFC", "Höhe/Å.md")
    assert {document_name(normalize(form, name)) for form in ("NFC", "NFD")} == {name}
    assert document_name("plain.md") == "plain.md"


def test_letters_that_only_look_alike_stay_apart() -> None:
    assert document_name("ﬁle²") == "ﬁle²"


def test_what_is_not_utf8_is_marked() -> None:
    assert document_name("h\udcf6he") == "h\ufffdhe"


def test_a_document_may_be_stored_in_the_form_that_its_name_came_in() -> None:
    composed, apart = (normalize(form, "höhe/höhe") for form in ("NFC", "NFD"))
    mixed = f"{normalize('NFC', 'höhe')}/{normalize('NFD', 'höhe')}"
    assert set(forms_of(mixed)) == {composed, apart, mixed}
    assert set(forms_of(composed)) == {composed, apart}
    assert forms_of("plain") == ("plain",)
