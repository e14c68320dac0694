"""What names a document, in one Unicode form: the same letters are the same name, however they are written.

An accented letter can be one character, or a letter and an accent (as file systems of Apple write it). Names are kept
in the form NFC, which has the fewest characters.
"""

from unicodedata import normalize


def document_name(text: str) -> str:
    """Return a name as it is kept.

    Bytes of a file's name that are not UTF-8, which Python holds as lone surrogates, become U+FFFD.
    """
    return normalize("NFC", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def forms_of(name: str) -> tuple[str, ...]:
    """Return the forms under which a document of this name may be stored: Hearth kept names as they came, once."""
    return tuple(dict.fromkeys((normalize("NFC", name), normalize("NFD", name), name)))
