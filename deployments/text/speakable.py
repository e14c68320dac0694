"""Text as it can be read aloud: without Markdown, links and emoji, and in sentences of bounded length.

Numbers, dates, units and abbreviations are left to the voice: each engine's own normaliser knows its language.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import emoji
from markdown_it import MarkdownIt
from markdown_it.token import Token

from deployments.text.sentences import split_sentences

_LONGEST = 300
_SHORTEST_OPENING = 12
"""Characters of an opening clause: a shorter one sounds cut off."""
_URL = re.compile(r"https?://(?:www\.)?([^\s/?#<>()\[\]]+)[^\s<>()\[\]]*")
_ENDS = ".!?:;,…。！？"
_CLAUSE_END = re.compile(r"[,;:—]\s+")


def speakable(text: str) -> str:
    """Return what a voice is to say of `text`; empty where there is nothing to say.

    >>> speakable("**Yes**, see [the manual](https://example.com/m) 🙂")
    'Yes, see the manual.'
    """
    parser = MarkdownIt("commonmark").enable("table").disable("code")
    blocks = (_spoken_block(block) for block in _blocks(parser.parse(text)))
    return " ".join(block if block[-1] in _ENDS else f"{block}." for block in blocks if block)


def spoken_sentences(text: str, *, opening_clause: bool = False) -> list[str]:
    """Return speakable text in the pieces in which it is spoken.

    Args:
        text: From `speakable`.
        opening_clause: Give the first clause by itself, for a voice that is slow.
    """
    pieces = [piece for sentence in split_sentences(text) for piece in _bounded(sentence)]
    if opening_clause and pieces:
        end = opening_clause_end(pieces[0])
        if end is not None:
            pieces[:1] = [pieces[0][:end].rstrip(), pieces[0][end:]]
    return [piece for piece in pieces if _says_something(piece)]


def opening_clause_end(text: str) -> int | None:
    """Return where the first clause ends, behind the space after it; None where no clause can be said alone."""
    match = _CLAUSE_END.search(text, _SHORTEST_OPENING)
    return match.end() if match else None


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield the text of paragraphs, headings, list items and rows of tables."""
    number = ""
    row: list[str] = []
    for token in tokens:
        match token.type:
            case "list_item_open":
                number = f"{token.info}: " if token.info else ""
            case "tr_close":
                yield ", ".join(cell for cell in row if cell)
                row = []
            case "inline" if token.level and _is_cell(token, tokens):
                row.append(_inline(token.children or ()))
            case "inline":
                yield number + _inline(token.children or ())
                number = ""
            case _:
                continue


def _is_cell(token: Token, tokens: Sequence[Token]) -> bool:
    before = tokens[tokens.index(token) - 1]
    return before.type in {"td_open", "th_open"}


def _inline(tokens: Sequence[Token]) -> str:
    texts = {"softbreak": " ", "hardbreak": " ", "html_inline": " "}
    return "".join(texts.get(token.type, token.content) for token in tokens)


def _spoken_block(block: str) -> str:
    without = emoji.replace_emoji(_URL.sub(r"\1", block), " ")
    printable = "".join(" " if unicodedata.category(character) == "Cc" else character for character in without)
    spoken = re.sub(r"\s+([,.!?;:])", r"\1", " ".join(printable.split()))
    if not _says_something(spoken):
        return ""
    return spoken


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _bounded(sentence: str) -> Iterator[str]:
    """Yield a sentence in pieces that a voice can say at once, cut at a clause, else between words."""
    rest = sentence
    while len(rest) > _LONGEST:
        clauses = [match.end() for match in _CLAUSE_END.finditer(rest, 0, _LONGEST)]
        cut = clauses[-1] if clauses else rest.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
        yield rest[:cut].strip()
        rest = rest[cut:]
    yield rest.strip()
