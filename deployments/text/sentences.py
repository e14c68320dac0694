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
_BEFORE_NUMBER = frozenset(["p", "pp", "art", "para"])
"""Abbreviations where a number follows."""
_PRONOUNS = frozenset("it its they their them this these those he his she her there".split())
_MONTHS = frozenset("jan feb mar apr jun jul aug sep oct nov dec".split())
_LONGEST_MONTH = 4
_LONGEST_UNIT = 4
_VOWEL = re.compile(r"[aeiouy]")
_LAST_WORD = re.compile(r"""(?<!\S)[("'“‘\[]*(?P<word>[^\W\d_]{2,}(?:['’-][^\W\d_]+)*)$""")
_LAST_END = re.compile(r"""(?:[!?。！？]|(?P<stop>\.))["'”’」』)\]]*$""")
_BEHIND_END = r"""(?:["'”’」』)\]*_~]|\[\^?\d{1,3}(?:, ?\d{1,3})*\]|[⁰¹²³⁴⁵⁶⁷⁸⁹]|</\w{1,20}>)*"""
"""What stands between an end mark and the next sentence: quotes, emphasis, citations, tags that close."""
_END_IN_MARKUP = re.compile(
    rf"(?P<mark>[.!?]+){_BEHIND_END}(?:\s+|(?=<\w)|(?=\[\^?\d{{0,3}}$))|(?P<wide>[。！？]+){_BEHIND_END}\s*"
)
_BEHIND_LAST_END = re.compile(rf"(?<=[.!?。！？]){_BEHIND_END}$")
_WORD = re.compile(r"\w")
_BLOCK_END = re.compile(r"\n|</(?:p|li|h[1-6]|t[rdh]|d[dt]|div|[uo]l|table|blockquote|pre)>|<br ?/?>", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})", re.MULTILINE)
_CONTEXT = 200
"""Characters before a full stop that say what it is."""
_END = re.compile(
    r"""(?<![.!?])(?P<mark>[.!?]++)["'”’)\]]*\s+|(?P<wide>[。！？]+)[」』"'”’)\]]*\s*|(?P<break>\n\s*\n)"""
)


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


def settled_sentence_end(text: str, since: int = 0) -> int | None:
    """Return where the sentence with which `text` begins ends, behind its end mark and the space that follows.

    It is for a text that is still being written: what is returned holds whatever comes next, and None is returned where
    that decides. So a full stop ends a sentence only when a space is behind it, and behind a number or what may be an
    abbreviation only when the word is there that follows.

    >>> [settled_sentence_end(text) for text in ("Open config.", "Open config. ", "It takes 3. ", "It takes 3. Then")]
    [None, 13, None, 12]

    Args:
        text: As far as it is written.
        since: Where to look from: before it, no end was found when less was written.
    """
    for match in _END.finditer(text, since):
        if match["wide"] is not None and match.end() == len(text):
            return None
        before = text[max(0, match.start() - _CONTEXT) : match.start()]
        if match["mark"] == "." and not _is_sure(before):
            if match.end() == len(text):
                return None
            if not _ends_sentence(text, 0, match) or _is_date(before, text[match.end()]):
                continue
        return match.end()
    return None


def _is_sure(text: str) -> bool:
    """Say whether a full stop behind a text, with a space behind it, surely ends a sentence.

    One behind an abbreviation, a number, an initial or a name with a dot in it may not. Words that are short and follow
    a number, or have no vowel, may be abbreviations that nobody listed.
    """
    match = _LAST_WORD.search(text)
    if match is None:
        return False
    word = match["word"].lower()
    if word in _ABBREVIATIONS or word[:3] in _MONTHS:
        return False
    if word.isascii() and not _VOWEL.search(word):
        return False
    return len(word) > _LONGEST_UNIT or not text[: match.start()].rstrip()[-1:].isdigit()


def _is_date(before: str, following: str) -> bool:
    """Say whether a full stop stands behind a month, such as "Jan", and a day follows."""
    word = before.split()[-1:]
    return following.isdigit() and bool(word) and len(word[0]) <= _LONGEST_MONTH and word[0][:3].lower() in _MONTHS


def unfinished_sentence(text: str) -> str:
    """Return the end of a text that was broken off, from where its last whole sentence, line or block ends.

    >>> unfinished_sentence("It is closed. It opens at"), unfinished_sentence("It is closed.")
    ('It opens at', '')
    """
    code = _open_code(text)
    if code is not None:
        return text[code:].strip()
    end = max((match.end() for match in _BLOCK_END.finditer(text.rstrip())), default=0)
    for match in _END_IN_MARKUP.finditer(text, end):
        if match["wide"] is not None or _ends_sentence(text, end, match):
            end = match.end()
    rest = text[end:].strip()
    bare = _BEHIND_LAST_END.sub("", rest)
    last = _LAST_END.search(bare)
    is_whole = last is not None and (last["stop"] is None or _is_sure(bare[: last.start()]))
    return "" if is_whole or not _WORD.search(rest) else rest


def _open_code(text: str) -> int | None:
    """Return where a block of code begins that a text leaves open; None where it leaves none."""
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1].startswith(opened[1]):
            opened = None
    return None if opened is None else opened.start()


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    if match["mark"] != ".":
        return True
    before = text[max(start, match.start() - _CONTEXT) : match.start()]
    word = before.rsplit(None, 1)[-1] if before.strip() else ""
    if word.lower().lstrip("(\"'") in _ABBREVIATIONS:
        return False
    # "1." opens a list item, "J." and "Lee E." hold initials; "in 1984." and "plan B." end with a capital after them.
    if word.isdigit() and not before[: -len(word)].strip():
        return False
    words = before.split()
    is_initial = len(word) == 1 and word.isupper() and (len(words) == 1 or words[-2][0].isupper())
    following = text[match.end() : match.end() + 1]
    if word.lower().lstrip("(\"'") in _BEFORE_NUMBER and following.isdigit():
        return False
    return not is_initial and not following.islower()
