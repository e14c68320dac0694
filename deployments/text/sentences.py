"""Where sentences end, in whole texts and in texts that are still being written."""

import re

_ABBREVIATIONS = frozenset(
    [
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "st",
        "sr",
        "jr",
        "vs",
        "etc",
        "e.g",
        "i.e",
        "cf",
        "fig",
        "no",
        "nos",
        "vol",
        "ch",
        "sec",
        "approx",
        "al",
        "inc",
        "ltd",
        "co",
        "corp",
        "dept",
        "est",
    ]
)
_PRONOUNS = frozenset("it its they their them this these those he his she her there".split())
_NEXT_ITEM = re.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)]|#{1,6})[ \t])")
_SURE_END = re.compile(r"""(?:[!?。！？]|(?<!\S)[("'“‘\[]*(?P<word>[^\W\d_]{2,}(?:['’-][^\W\d_]+)*)\.)["'”’)\]]*$""")
_END = re.compile(r"""(?P<mark>[.!?]+)["'”’)\]]*\s+|(?P<wide>[。！？])[」』"'”’)\]]*\s*|(?P<break>\n\s*\n)""")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text` in order, stripped; a text without an end mark is one sentence."""
    sentences: list[str] = []
    start = 0
    while (end := sentence_end(text, start)) is not None:
        sentences.append(text[start:end].strip())
        start = end
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def leans_on_previous(sentence: str) -> bool:
    """Say whether a sentence begins with a pronoun, so that the one before it says what it is about."""
    first = re.match(r"\W*(\w+)", sentence)
    return first is not None and first[1].lower() in _PRONOUNS


def sentence_end(text: str, start: int = 0) -> int | None:
    """Return where the first sentence from `start` ends, behind its end mark and the space that follows.

    None where no sentence surely ends. An end mark at the very end of the text does not count: the text may go on
    ("3." may become "3.5").
    """
    for match in _END.finditer(text, start):
        is_break = match["break"] is not None
        if text[start : match.start()].strip() if is_break else _ends_sentence(text, start, match):
            return match.end()
    return None


def is_sure_end(text: str) -> bool:
    """Say whether a text ends with the end of a sentence, whatever comes next.

    A full stop behind an abbreviation, a number, an initial or a part of a name with a dot in it may not end one.

    >>> is_sure_end("It is closed."), is_sure_end("It takes 3."), is_sure_end("Ask Dr.")
    (True, False, False)
    """
    match = _SURE_END.search(text)
    if match is None:
        return False
    word = match["word"]
    return word is None or word.lower() not in _ABBREVIATIONS


def unfinished_sentence(text: str) -> str:
    """Return the end of a text that was broken off, from where its last whole sentence or list item ends.

    >>> unfinished_sentence("It is closed. It opens at"), unfinished_sentence("It is closed.")
    ('It opens at', '')
    """
    end = max((match.end() for match in _NEXT_ITEM.finditer(text)), default=0)
    while (following := sentence_end(text, end)) is not None:
        end = following
    rest = text[end:].strip()
    return "" if is_sure_end(rest) else rest


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    if match["mark"] != ".":
        return True
    before = text[start : match.start()]
    word = before.rsplit(None, 1)[-1] if before.strip() else ""
    if word.lower().lstrip("(\"'") in _ABBREVIATIONS:
        return False
    # "1." opens a list item, "J." and "Lee E." hold initials; "in 1984." and "plan B." end with a capital after them.
    if word.isdigit() and not before[: -len(word)].strip():
        return False
    words = before.split()
    is_initial = len(word) == 1 and word.isupper() and (len(words) == 1 or words[-2][0].isupper())
    following = text[match.end() : match.end() + 1]
    return not is_initial and not following.islower()
