"""Markup into plain text, while more of it is still being written.

Markdown, HTML and SSML are read in one go, so that it makes no difference whether a text comes as a whole or by tokens.
A reader of Markdown for pages knows what a line is only when it knows the lines after it, and what an asterisk is only
when it has seen the next one. What a voice is to say of them is known earlier: a mark of emphasis is not said, whether
or not it is closed, and a row of a table is one before the table is.
"""

import re
from collections.abc import Callable, Mapping
from html import unescape

import emoji

from deployments.text.formulas import COMMANDS, SHAPED, formula_in_signs
from deployments.text.tags import BREAKING, CELLS, LEFT_OUT, Tag, Unclear, tag_at

BREAK = "\n"
"""Where a sentence ends, in the text that is returned."""

_SHORT_LINE = 40
"""Characters. A line of fewer that ends without a mark was ended on purpose, and not where a page is full."""
_LONGEST_LABEL = 300
_LONGEST_TARGET = 2000
_LONGEST_WAIT = 300
"""Characters. What is opened within a sentence and is not closed so soon is only told of, and nobody waits for it."""
_LONGEST_TAG = 2000
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.|\\\n|\[[^\[\]]*\])*)\]")
_TARGET = re.compile(r"\((?:[^()\\\n]|\\.|\([^()\n]*\))*\)|\[[^\[\]\n]*\]")
_LONGEST_PLACEHOLDER = 40
_STRONG_BREAK_S = 0.5
_AMOUNT = re.compile(r"\$[0-9][0-9.,]*(?:[kKmMbB]|[a-z]{2,})?(?:[.,;:!?)]*\s+[A-Za-z(]|/[a-z]{2}|\s?[-–—]\s?\$)")
"""Money, as far as it must be read to be known as such."""
_FORMULA_CLOSE = re.compile(r"(?<!\\)\$|\n")
_IS_FORMULA = re.compile(r"[A-Za-z\\=+^<>]|[0-9.,]+\Z")
_LATEX = re.compile(r"\\([A-Za-z]+)(?:\s*\{[^{}]*\}){0,2}")
_TERMINAL_CODE = re.compile(r"(?:\x1b|\\(?:x1[bB]|033|u001[bB]|e))\[[0-9;?]*[A-Za-z]")
_TERMINAL_CODE_SO_FAR = re.compile(
    r"(?:\x1b|\\(?:x(?:1(?:[bB](?=\[|\Z))?)?|0(?:33?)?|u(?:0(?:0(?:1[bB]?)?)?)?|e)?)(?:\[[0-9;?]*)?\Z"
)
_WITHOUT_CONTENT = frozenset("br hr wbr break img input".split())
_TOLD_OF = re.compile(r"[.,;:!?)]|\s+(?:tags?|elements?|and|or)\b")
"""Behind a tag that is told of, and opens nothing."""
_TOLD_OF_SO_FAR = re.compile(r"\s*[a-z]{0,8}\Z")
_CLOSING_SO_FAR = re.compile(r"(?:<(?:/(?:[A-Za-z]{0,20}\s{0,8})?)?|-{1,2})\Z")
_TOLD_OF_BOTH = re.compile(r"\s*(?:and|or|to|\.\.\.|…)\s*")

_KEYCAPS = re.compile(r"((?:[0-9]\ufe0f?\u20e3)+)\ufe0f?[ \t]*")
_ITEM = re.compile(r"[-+*•‣◦▪▫●○■□·–—][ \t]+(?:\[[ xX]\][ \t]+)?")
_NUMBER = re.compile(r"([0-9]{1,3})[.)][ \t]+")
_LETTER = re.compile(r"([A-Za-z])\)[ \t]+")
_HEADING = re.compile(r"#{1,6}(?:[ \t]+|$)")
_RULE = re.compile(r"(?:([-*_=])(?:[ \t]*\1)*|[-:=|+ \t]*)[ \t]*$")
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)+")
_COMPARISON = re.compile(
    r"[ \t]*>[ \t]?[-−]?[0-9][0-9.,]*[ \t]?(?:[%°‰€$£;,)|]|$|"
    r"(?:[kcmµn]?[ms]|[kmµ]?g|[mc]?l|h|min|[kMG]?Hz|[kMGT]i?B|[mk]?[VAW]|kWh|ppm)(?!\w))"
)
_DEFINITION = re.compile(r"\[(?!\^)[^\]]{1,300}\]:[ \t]*(?:<[^>]*>|\S*[/.#:]\S+)[ \t]*(?:[\"'(].*)?$")
_FOOTNOTE = re.compile(r"\[\^[^\]]{1,300}\]:[ \t]*")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_ADDRESS = re.compile(r"<((?:https?|mailto|ftp):[^\s<>]*|[^\s<>@]+@[^\s<>@]+)>")
_ADDRESS_SO_FAR = re.compile(r"<[^\s<>]*\Z")
_PLACEHOLDER = re.compile(r"<([A-Za-z][\w .'-]*)")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ENTITY_SO_FAR = re.compile(r"&#?[A-Za-z0-9]{0,32}\Z")
_SPECIAL = re.compile(r"[\\`*_~=\[\]!<&|\n$\x1b]")
_SUPERSCRIPTS = str.maketrans("0123456789-−+n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺ⁿ")
_NUMBERS = re.compile(r"[-−+]?[0-9][0-9.]*(?:[-–,;]\s*[-−+]?[0-9][0-9.]*)*")
_SOURCE = re.compile(r"[1-9][0-9]{0,2}(?:[-–,] ?[1-9][0-9]{0,2})*")
_VALUE_BEFORE = re.compile(
    r"(?:^|[^\w])(?:(?:is|are|was|be|equals?|has|have|had|see|in|of|to|from|with|at|by|for|between|interval|range|arrays?|"
    r"lists?|vectors?|tuples?|sets?|shape|index|values?|points?|arr|argv?|args|items|data|returns?)[*_`]*\s?|\w*_\w+|[A-Za-z])"
    r"(?:\[[0-9, ]{1,8}\])*$",
    re.IGNORECASE,
)
"""Behind these, numbers in square brackets are values, and no mark of a source."""
_GOES_ON = re.compile(r"\s+(?:and|or|but|so|which|while|when|where|because|as|that|it|the|is|are|was|in|to|for|by)\b")
_NEXT_WORD_SO_FAR = re.compile(r"\s*[A-Za-z]{0,8}\Z")
_KEPT_BEFORE = 24
"""Characters that are kept of what was read."""
_YES_OR_NO = {ord("\ufe0f"): "", **dict.fromkeys(map(ord, "✅✔☑🗸"), "✓"), **dict.fromkeys(map(ord, "❌❎✘🚫⛔"), "✗")}
"""In a table or a list these are no ornament, but what is said of a thing."""
_EMBEDDED = "(data:"
_EMBEDDED_END = re.compile(r"\)|(?=\n)")
_SPELLED = frozenset(["characters", "spell-out", "verbatim", "digits", "telephone"])


class MarkupReader:
    """Reads a text that still grows.

    What it returns, joined, depends on the text alone, and not on how it was cut. Nothing is held back longer than it
    takes to know what it is: a link until its end, a line that begins like a fence until that is known.

    Args:
        is_inline: Whether the text is part of a line, so that its beginning means nothing.
    """

    def __init__(self, *, is_inline: bool = False) -> None:
        # What was written and not yet read, from `_at` on, and what is known of it.
        self._text: str = ""
        self._at: int = 0
        self._out: list[str] = []
        self._is_last = False
        # The last characters that were read, and the last that is said of this sentence.
        self._before = ""
        self._last = ""
        # The line, and how the one before it ended.
        self._begins_line = not is_inline
        self._line_length = 0
        self._is_heading = False
        self._ended_short = False
        self._ended_on_purpose = False
        # What it stands in.
        self._is_starred = False
        self._fence = ""
        self._is_quoted_fence = False
        self._closing: re.Pattern[str] | None = None
        self._is_open = is_inline
        self._is_list = False
        self._is_marked = False
        self._is_cell = False
        self._is_ssml = False
        self._handlers: Mapping[str, Callable[[], bool]] = {
            "\\": self._backslash,
            "$": self._dollar,
            "\x1b": self._terminal_code,
            "`": self._code,
            "*": self._emphasis,
            "_": self._emphasis,
            "~": self._emphasis,
            "=": self._emphasis,
            "[": self._bracket,
            "]": self._left_out,
            "!": self._image,
            "<": self._angle,
            "&": self._entity,
            "|": self._cell_border,
            "\n": self._newline,
        }

    def read(self, text: str, *, is_last: bool = False) -> str:
        """Return what is known now of the plain text, behind what was returned before.

        Args:
            text: What was written since.
            is_last: Whether nothing more will be written.
        """
        text = self._text[self._at :] + text
        held = text[-1:] if text.endswith("\r") and not is_last else ""
        self._text, self._at = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n"), 0
        self._out, self._is_last = [], is_last
        while self._at < len(self._text) and self._step():
            pass
        self._text += held
        return "".join(self._out)

    def _step(self) -> bool:
        """Read on; false where what is yet to come decides."""
        if self._closing:
            return self._content(self._closing)
        if self._fence:
            return self._fenced_line()
        if self._begins_line:
            return self._line()
        special = _SPECIAL.search(self._text, self._at)
        end = special.start() if special else len(self._text)
        if end > self._at:
            self._say(self._text[self._at : end], end)
            return True
        return self._handlers[self._text[self._at]]()

    # What is read.

    def _say(self, plain: str, end: int) -> None:
        """Take plain text for the source up to `end`."""
        if self._is_list or self._is_cell:
            plain = plain.translate(_YES_OR_NO)
        self._out.append(plain)
        self._is_open = True
        self._last = plain.rstrip()[-1:] or self._last
        self._pass(end)

    def _pass(self, end: int) -> None:
        """Go on behind `end`."""
        self._before = (self._before + self._text[max(self._at, end - _KEPT_BEFORE) : end])[-_KEPT_BEFORE:]
        self._line_length += end - self._at
        self._at = end

    def _break(self) -> None:
        self._out.append(BREAK)
        self._is_open = self._is_starred = False
        self._last = ""

    # Lines.

    def _fenced_line(self) -> bool:
        end = self._text.find("\n", self._at)
        if end < 0 and not self._is_last:
            return False
        line = self._text[self._at : end if end >= 0 else len(self._text)]
        if self._is_quoted_fence and not line.lstrip().startswith(">"):
            self._fence = ""
            return True
        bare = _QUOTE.sub("", line, count=1).strip() if self._is_quoted_fence else line.strip()
        if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
            self._fence = ""
        self._pass(end + 1 if end >= 0 else len(self._text))
        return True

    def _line(self) -> bool:
        """Read what stands at the beginning of a line."""
        end = self._text.find("\n", self._at)
        line = self._text[self._at : end if end >= 0 else len(self._text)]
        if end < 0 and not self._is_last and not _is_clear(line):
            return False
        after = end + 1 if end >= 0 else len(self._text)
        quote = None if _COMPARISON.match(line) else _QUOTE.match(line)
        start = quote.end() if quote else 0
        start += len(line[start:]) - len(line[start:].lstrip())
        rest = line[start:]
        if not rest:
            self._break()
            self._pass(after)
            return True
        if fence := _FENCE.match(rest):
            self._break()
            self._fence, self._is_quoted_fence = fence[1] or fence[2], quote is not None
            self._pass(after)
            return True
        if _RULE.match(rest) or _DEFINITION.match(rest):
            self._break()
            self._pass(after)
            return True
        if rest[0] == "|":
            self._row(rest)
            self._pass(after)
            return True
        return self._marked_line(rest, self._at + start)

    def _marked_line(self, rest: str, start: int) -> bool:
        """Begin a heading, an item, a footnote or a line of a paragraph."""
        self._line_length, self._is_heading = 0, False
        if heading := _HEADING.match(rest):
            self._break()
            self._is_heading = True
            self._pass(start + heading.end())
        elif item := _ITEM.match(rest) or _FOOTNOTE.match(rest):
            self._item("", start + item.end())
            return True
        elif number := self._number(rest):
            self._item(number[0], start + number[1])
            return True
        else:
            self._paragraph_line(rest)
            self._pass(start)
        self._begins_line = False
        return True

    def _number(self, rest: str) -> tuple[str, int] | None:
        """Return the number of an item, and where it ends. A number within a paragraph may be part of its text."""
        if keycaps := _KEYCAPS.match(rest):
            return re.sub(r"[^0-9]", "", keycaps[1]), keycaps.end()
        if letter := _LETTER.match(rest):
            return letter[1], letter.end()
        number = _NUMBER.match(rest)
        if number is None or (self._is_open and not self._is_list and number[1] != "1"):
            return None
        return number[1], number.end()

    def _item(self, number: str, end: int) -> None:
        """Begin an item, whose text may begin as a line does."""
        self._break()
        self._is_list = self._is_marked = True
        self._pass(end)
        if number:
            self._out.append(f"{number}: ")

    def _paragraph_line(self, rest: str) -> None:
        if not self._is_open:
            self._is_list, self._is_marked = self._is_marked, False
            return
        is_symbol = bool(emoji.is_emoji(rest[0]) or emoji.is_emoji(rest[:2]))
        is_short = self._ended_short and self._last not in ".!?:;,…。！？、，" and not rest[0].islower()
        if self._ended_on_purpose or is_symbol or is_short:
            self._break()
        else:
            self._out.append(" ")

    def _row(self, row: str) -> None:
        """Say the cells of a row of a table."""
        cells = [_inline(cell.replace("\\|", "|")).translate(_YES_OR_NO) for cell in re.split(r"(?<!\\)\|", row)]
        cells = ["✗" if cell == "✖" else cell for cell in cells]
        self._break()
        self._out.append(", ".join(filter(None, cells)))
        self._break()

    def _newline(self) -> bool:
        self._ended_on_purpose = self._is_heading or self._before.endswith("  ")
        self._ended_short = self._line_length < _SHORT_LINE
        self._pass(self._at + 1)
        self._begins_line = True
        return True

    # Within lines.

    def _left_out(self, count: int = 1) -> bool:
        self._pass(self._at + count)
        return True

    def _literal(self, count: int = 1) -> bool:
        self._say(self._text[self._at : self._at + count], self._at + count)
        return True

    def _backslash(self) -> bool:
        """Read an escape, a formula or a command of LaTeX, or a code for a terminal."""
        if _TERMINAL_CODE.match(self._text, self._at):
            return self._terminal_code()
        if not self._is_last and _TERMINAL_CODE_SO_FAR.match(self._text, self._at):
            return False
        following = self._text[self._at + 1 : self._at + 2]
        if following in {"(", "["}:
            return self._formula(2, "\\)" if following == "(" else "\\]")
        if following in {")", "]"}:
            return self._left_out(2)
        before = self._before[-1:]
        if following.isascii() and following.isalpha() and not before.isalpha() and before not in {*":\\/_."}:
            return self._command()
        return self._escape()

    def _command(self) -> bool:
        command = _LATEX.match(self._text, self._at, self._at + _LONGEST_WAIT)
        if command is None:
            return self._literal()
        known = command[1] in COMMANDS or command[1] in SHAPED
        rest = self._text[command.end() :].lstrip()
        if not self._is_last and (not rest or (known and rest[0] == "{" and len(rest) < _LONGEST_WAIT)):
            return False
        if not known:
            return self._literal()
        said = formula_in_signs(command[0])
        self._say(f"{said} " if self._text[command.end() : command.end() + 1].isalnum() else said, command.end())
        return True

    def _terminal_code(self) -> bool:
        """Leave out what colours a text in a terminal."""
        if code := _TERMINAL_CODE.match(self._text, self._at):
            return self._left_out(len(code[0]))
        if not self._is_last and _TERMINAL_CODE_SO_FAR.match(self._text, self._at):
            return False
        return self._left_out()

    def _formula(self, opening: int, closing: str) -> bool:
        """Say a formula in signs, without the marks around it; of marks that are not closed soon, nothing."""
        start = self._at + opening
        limit = start + _LONGEST_WAIT
        close = self._text.find(closing, start, limit)
        if close < 0:
            return self._left_out(opening) if self._is_known(limit) else False
        self._say(formula_in_signs(self._text[start:close]), close + len(closing))
        return True

    def _dollar(self) -> bool:
        """Say a formula between dollar signs without them; other dollar signs are money."""
        start = self._at + 1
        if self._is_cut(start):
            return False
        following = self._text[start : start + 1]
        if following == "$":
            return self._formula(2, "$$")
        if not following.strip() or self._before[-1:].isalnum() or _AMOUNT.match(self._text, self._at):
            return self._literal()
        limit = start + _LONGEST_WAIT
        close = _FORMULA_CLOSE.search(self._text, start, limit)
        if (close is None and not self._is_known(limit)) or (close and self._is_cut(close.end())):
            return False
        content = self._text[start : close.start()] if close and close[0] == "$" else ""
        is_closed = close and content.rstrip() == content and not self._text[close.end() : close.end() + 1].isdigit()
        if not close or not is_closed or not _IS_FORMULA.search(content):
            return self._literal()
        self._say(formula_in_signs(content), close.end())
        return True

    def _escape(self) -> bool:
        following = self._text[self._at + 1 : self._at + 2]
        if not following and not self._is_last:
            return False
        if following == "\n":
            self._left_out()
            self._before = "  "
            return self._newline()
        if following.isascii() and following.isprintable() and not following.isalnum() and following.strip():
            self._say(following, self._at + 2)
            return True
        return self._literal()

    def _run(self) -> int:
        """Return how often the character here is repeated."""
        character = self._text[self._at]
        end = self._at
        while end < len(self._text) and self._text[end] == character:
            end += 1
        return end - self._at

    def _is_cut(self, end: int) -> bool:
        """Say whether what follows `end` is not known yet."""
        return end >= len(self._text) and not self._is_last

    def _is_known(self, end: int) -> bool:
        """Say whether all is known up to `end`."""
        return self._is_last or len(self._text) >= end

    def _code(self) -> bool:
        count = self._run()
        if self._is_cut(self._at + count):
            return False
        start = self._at + count
        limit = start + _LONGEST_WAIT
        close = re.compile(rf"(?<!`)`{{{count}}}(?!`)").search(self._text, start, limit)
        blank = _BLANK_LINE.search(self._text, start, limit)
        if close and (blank is None or close.start() < blank.start()):
            if self._is_cut(close.end()):
                return False
            self._say(self._text[start : close.start()].replace("\n", " "), close.end())
            return True
        return self._left_out(count) if blank or self._is_known(limit) else False

    def _emphasis(self) -> bool:
        """Leave out a run of marks beside a word; between spaces, or between two numbers, it is text."""
        mark, count = self._text[self._at], self._run()
        end = self._at + count
        if self._is_cut(end):
            return False
        before, after = self._before[-1:], self._text[end : end + 1]
        if mark in "~=" and count == 1:
            return self._literal()
        is_apart = not before.strip() and not after.strip()
        is_within = before.isalnum() and after.isalnum() and (mark in "_=" or (before.isdigit() and after.isdigit()))
        if is_within or is_apart:
            return self._literal(count)
        return self._star(before, after) if mark == "*" and count == 1 else self._left_out(count)

    def _star(self, before: str, after: str) -> bool:
        """Leave out an asterisk of emphasis; one that none opened multiplies, or stands for a part of a name."""
        if after == "." and self._is_cut(self._at + 2):
            return False
        is_name_next = after == "." and self._text[self._at + 2 : self._at + 3].isalnum()
        is_ascii = before.isascii() and after.isascii()
        is_sign = not self._is_starred and before.isalnum() and is_ascii and (after.isalnum() or is_name_next)
        if is_sign or before in {"/", "\\"} or (is_name_next and not before.isalnum()):
            return self._literal()
        self._is_starred = not before.isalnum() and bool(after.strip())
        return self._left_out()

    def _image(self) -> bool:
        if self._is_cut(self._at + 1):
            return False
        if self._text[self._at + 1 : self._at + 2] != "[":
            return self._literal()
        return self._bracket(1)

    def _bracket(self, image: int = 0) -> bool:
        """Say the text of a link, or what an image shows; leave out the mark of a footnote or a source."""
        start = self._at + image
        limit = start + _LONGEST_LABEL
        if blank := _BLANK_LINE.search(self._text, start, limit):
            limit = blank.start()
        label = _LABEL.match(self._text, start, limit)
        if label is None:
            is_known = self._is_last or len(self._text) >= limit
            return (self._literal() if image else self._left_out()) if is_known else False
        return False if self._is_cut(label.end()) else self._labelled(label, is_image=bool(image))

    def _labelled(self, label: re.Match[str], *, is_image: bool) -> bool:
        if self._text.startswith(_EMBEDDED, label.end()):
            self._say(_inline(label[1]), label.end())
            self._closing = _EMBEDDED_END
            return True
        end = self._target_end(label.end())
        if end is None:
            return False
        if label[1].startswith("^"):
            return self._left_out(label.end() - self._at)
        if not is_image and self._text[label.end() : label.end() + 1] != "(" and _NUMBERS.fullmatch(label[1]):
            return self._numbers(label)
        if end == label.end():
            return self._literal() if is_image else self._left_out()
        self._say(_inline(label[1]), end)
        return True

    def _numbers(self, label: re.Match[str]) -> bool:
        """Leave out the mark of a source; say values."""
        is_source = self._is_source(label)
        if is_source is None:
            return False
        if is_source:
            return self._left_out(label.end() - self._at)
        before = " " if self._before[-1:].isalnum() or self._before[-1:] == "]" else ""
        self._say(before + re.sub(r"([,;])\s*", r"\1 ", label[1]), label.end())
        return True

    def _is_source(self, label: re.Match[str]) -> bool | None:
        """Say whether numbers in brackets are the mark of a source: one is at the end of words or of a sentence."""
        if not _SOURCE.fullmatch(label[1]) or _VALUE_BEFORE.search(self._before):
            return False
        if not self._is_last and _NEXT_WORD_SO_FAR.match(self._text, label.end()):
            return None
        after = self._text[label.end() : label.end() + 3].lstrip(" ")[:1]
        if not after or after in '.,;:!?()–—[\n"”’*_<|':
            return True
        is_behind_end = self._before.rstrip(" *_")[-1:] in {"", *'.!?…:"”)\n'}
        return after.isupper() if is_behind_end else bool(_GOES_ON.match(self._text, label.end()))

    def _target_end(self, at: int) -> int | None:
        """Return where the target of a link ends, `at` where there is none, None where that is not known yet."""
        if self._text[at : at + 1] not in {"(", "["}:
            return at
        target = _TARGET.match(self._text, at, at + _LONGEST_TARGET)
        if target:
            return target.end()
        is_known = self._is_last or len(self._text) >= at + _LONGEST_TARGET or "\n" in self._text[at:]
        return at if is_known else None

    def _entity(self) -> bool:
        if entity := _ENTITY.match(self._text, self._at):
            self._say(unescape(entity[0]).replace("\n", " "), entity.end())
            return True
        if not self._is_last and _ENTITY_SO_FAR.match(self._text, self._at):
            return False
        return self._literal()

    def _cell_border(self) -> bool:
        """Pause at a border between cells or parts."""
        if self._is_cut(self._at + 1):
            return False
        is_apart = not self._before[-1:].strip() and not self._text[self._at + 1 : self._at + 2].strip()
        self._say(", " if is_apart and self._is_open and self._last not in {",", ""} else " ", self._at + 1)
        return True

    # Tags.

    def _angle(self) -> bool:
        """Read a tag, a comment, an address or a placeholder; an angle bracket that is none of these compares."""
        following = self._text[self._at + 1 : self._at + 2]
        if not following and not self._is_last:
            return False
        if following in {"!", "?"}:
            return self._declaration()
        if not following.isascii() or not (following.isalpha() or following == "/"):
            return self._literal()
        tag = tag_at(self._text, self._at)
        end = tag.end if isinstance(tag, Tag) else len(self._text)
        if end > self._at + _LONGEST_TAG and "data:" not in self._text[self._at : self._at + _LONGEST_WAIT]:
            return self._no_tag(is_unclear=False)
        return self._tag(tag) if isinstance(tag, Tag) else self._no_tag(is_unclear=isinstance(tag, Unclear))

    def _no_tag(self, *, is_unclear: bool) -> bool:
        if address := _ADDRESS.match(self._text, self._at):
            self._say(address[1].removeprefix("mailto:"), address.end())
            return True
        if is_unclear or _ADDRESS_SO_FAR.match(self._text, self._at):
            return self._literal() if self._is_last else False
        return self._placeholder()

    def _placeholder(self) -> bool:
        """Say words in angle brackets that are no tag; a bracket behind a word compares."""
        if self._before[-1:].isalnum():
            return self._literal()
        words = _PLACEHOLDER.match(self._text, self._at)
        if words is None or len(words[1]) > _LONGEST_PLACEHOLDER:
            return self._literal()
        if self._is_cut(words.end()):
            return False
        if self._text[words.end() : words.end() + 1] != ">" or words[1][-1] == " ":
            return self._literal()
        self._say(words[1], words.end() + 1)
        return True

    def _declaration(self) -> bool:
        """Leave out a comment or a declaration; of one that is not closed soon, only its opening."""
        kinds = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>", "<!": ">"}
        rest = self._text[self._at : self._at + 9]
        if not self._is_last and any(kind.startswith(rest) and kind != rest for kind in kinds):
            return False
        opening = next(kind for kind in kinds if rest.startswith(kind))
        start = self._at + len(opening)
        if opening == "<!" and not self._text[start : start + 1].isalpha():
            return self._literal(2)
        limit = start + _LONGEST_WAIT
        close = self._text.find(kinds[opening], start, limit)
        if close < 0 and opening == "<!--" and self._is_at_beginning():
            self._closing = re.compile("-->")
            return self._left_out(len(opening))
        if close < 0:
            return self._left_out(len(opening)) if self._is_known(limit) else False
        if opening == "<![CDATA[":
            self._say(self._text[start:close].replace("\n", " "), close + 3)
        else:
            self._pass(close + len(kinds[opening]))
        return True

    def _tag(self, tag: Tag) -> bool:
        is_told_of = self._is_told_of(tag)
        if is_told_of is None:
            return False
        if is_told_of:
            return self._name(tag)
        if tag.name in LEFT_OUT and not tag.is_closing and not tag.is_empty:
            return self._without_content(tag)
        return self._acting_tag(tag)

    def _acting_tag(self, tag: Tag) -> bool:
        """Do what a tag does to what is said."""
        self._is_ssml = self._is_ssml or tag.name == "speak"
        if tag.name in CELLS or tag.name in {"li", "tr", "table", "ul", "ol"}:
            self._is_cell = not tag.is_closing and (tag.name in CELLS or tag.name == "li")
        if tag.name in BREAKING or (tag.name == "s" and self._is_ssml):
            self._break()
        elif tag.name == "break":
            self._pause(tag)
        elif tag.name in CELLS and not tag.is_closing and self._is_open and self._last not in {",", ""}:
            self._say(", ", tag.end)
            return True
        elif tag.name == "img" and tag.attributes.get("alt"):
            self._say(tag.attributes["alt"], tag.end)
            return True
        elif not tag.is_closing and not tag.is_empty and _is_said_otherwise(tag):
            return self._said_otherwise(tag)
        self._pass(tag.end)
        return True

    def _is_at_beginning(self) -> bool:
        """Say whether nothing stands before it in its line or block."""
        return not self._is_open or self._before[-1:] in {"", "\n"}

    def _is_told_of(self, tag: Tag) -> bool | None:
        """Say whether a sentence is about a tag, as in "the <b> tag"; None where that is not known yet."""
        is_opening = not (tag.is_closing or tag.is_empty or tag.attributes or tag.name in _WITHOUT_CONTENT)
        if not is_opening or self._is_at_beginning() or self._before[-1:].strip(" \"'“‘("):
            return False
        if not self._is_last and _TOLD_OF_SO_FAR.match(self._text, tag.end):
            return None
        return _TOLD_OF.match(self._text, tag.end) is not None

    def _name(self, tag: Tag) -> bool:
        """Say the name of a tag that is told of."""
        before = " " if self._before[-1:].isalnum() else ""
        after = " " if self._text[tag.end : tag.end + 1].isalnum() else ""
        self._say(f"{before}{tag.name}{after}", tag.end)
        return True

    def _without_content(self, tag: Tag) -> bool:
        """Leave out an element; one that neither begins a line or block nor is closed soon is only told of."""
        if self._is_cut(tag.end):
            return False
        closing = re.compile(rf"</{tag.name}\s{{0,8}}>", re.IGNORECASE)
        if self._is_at_beginning() and self._text[tag.end : tag.end + 1] not in {*" .,;:!?)"}:
            self._break()
            self._pass(tag.end)
            self._closing = closing
            return True
        limit = tag.end + _LONGEST_WAIT
        close = closing.search(self._text, tag.end, limit)
        if close is None and not self._is_known(limit):
            return False
        if close is None or _TOLD_OF_BOTH.fullmatch(self._text, tag.end, close.start()):
            return self._name(tag)
        self._break()
        self._pass(close.end())
        return True

    def _content(self, closing: re.Pattern[str]) -> bool:
        """Leave out what stands before the closing tag; what may be the beginning of that waits."""
        close = closing.search(self._text, self._at)
        if close:
            self._closing = None
            self._pass(close.end())
            return True
        tail = _CLOSING_SO_FAR.search(self._text, self._at)
        self._pass(tail.start() if tail and not self._is_last else len(self._text))
        return self._at == len(self._text)

    def _pause(self, tag: Tag) -> None:
        strength = tag.attributes.get("strength", "")
        seconds = _seconds(tag.attributes.get("time", ""))
        if strength == "none" or seconds == 0.0:
            return
        if (seconds is None and strength not in {"weak", "x-weak", "medium"}) or (seconds or 0.0) >= _STRONG_BREAK_S:
            self._break()
        elif self._is_open and self._last not in ",.;:!?":
            self._out.append(", ")

    def _said_otherwise(self, tag: Tag) -> bool:
        limit = tag.end + _LONGEST_WAIT
        close = re.compile(rf"</{tag.name}\s*>", re.IGNORECASE).search(self._text, tag.end, limit)
        if close is None:
            if not self._is_known(limit):
                return False
            self._pass(tag.end)
            return True
        content = _inline(self._text[tag.end : close.start()])
        self._say(_otherwise(tag, content), close.end())
        return True


def _is_clear(line: str) -> bool:
    """Say whether the beginning of a line tells what the line is."""
    rest = line.lstrip()
    if not rest:
        return False
    first = rest[0]
    if first.isascii() and first.isdigit():
        return _is_clear_number(rest)
    if first == ">":
        quoted = _QUOTE.sub("", rest, count=1)
        return bool(quoted) and quoted[0] not in "0123456789-−" and _is_clear(quoted)
    if item := _ITEM.match(rest):
        return _is_clear(rest[item.end() :])
    return _is_clear_mark(rest)


def _is_clear_mark(rest: str) -> bool:
    """Say whether a line that begins with neither a digit nor a quotation tells what it is."""
    if rest[0] == "[":
        close = rest.find("]")
        return (0 <= close < len(rest) - 1 and rest[close + 1] != ":") or len(rest) > _LONGEST_LABEL
    if rest[0] == "|" or rest.startswith(("```", "~~~")) or not rest.strip("`~") or _RULE.match(rest):
        return False
    if rest[0] == "#":
        return bool(rest.lstrip("#"))
    return len(rest) > (2 if rest[1:2] == ")" else 1)


def _is_clear_number(rest: str) -> bool:
    """Say whether a line that begins with digits numbers something."""
    if keycaps := _KEYCAPS.match(rest):
        return rest[keycaps.end() :][:1] not in {"", *"0123456789"}
    tail = rest.lstrip("0123456789")
    if tail[:1] in {".", ")", "\ufe0f"}:
        return len(tail) > 1
    return bool(tail)


def _inline(text: str) -> str:
    """Return the plain text of a part of a line."""
    plain = MarkupReader(is_inline=True).read(text.replace("\n", " "), is_last=True)
    return " ".join(plain.split())


def _is_said_otherwise(tag: Tag) -> bool:
    if tag.name == "sub":
        return "alias" in tag.attributes
    return tag.name == "sup" or (tag.name == "say-as" and tag.attributes.get("interpret-as") in _SPELLED)


def _otherwise(tag: Tag, content: str) -> str:
    match tag.name:
        case "sub":
            return tag.attributes["alias"]
        case "sup":
            return content.translate(_SUPERSCRIPTS) if re.fullmatch(r"[-−+]?[0-9n]+", content) else content
        case _:
            return " ".join(character for character in content if character.isalnum())


def _seconds(time: str) -> float | None:
    """Return the length of an SSML pause, such as "1s" or "250ms"; None where it is none."""
    match = re.fullmatch(r"\s*\+?([0-9]*\.?[0-9]+)\s*(m?)s\s*", time)
    return float(match[1]) / (1000 if match[2] else 1) if match else None
