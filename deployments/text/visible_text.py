"""What a text that is still being written says of the place where it goes on: code, a line's beginning, a list."""

_LIST_MARKS = frozenset("-*+>#|.) \t0123456789")
_OF_CODE_AND_LINES = "`~\n"
_FENCE = 3


class VisibleText:
    """What is known of the text that was shown: whether a mark that comes next stands in code, or begins a line.

    Attributes:
        has_text: Whether there is any but space.
        is_behind_thought: Whether there is none but space behind the last thought.
        is_blank_line: Whether the line holds nothing but space.
        is_list_mark: Whether the line holds nothing but the marks of a list, a heading or a quotation.
        last: The last character.
        last_mark: The last character that is no space.
        fence: The mark that opened the block of code that goes on; empty outside.
        inline: Length of the mark that may have opened a code span in this line; 0 outside.
    """

    def __init__(self) -> None:
        self.has_text = False
        self.is_behind_thought = False
        self.is_blank_line = True
        self.is_list_mark = True
        self.last = ""
        self.last_mark = ""
        self.fence: str = ""
        self.inline = 0
        self._fence_began_here = False
        self._skips_space = False
        self._run: str = ""
        self._run_begins_line = False

    def take(self, text: str) -> str:
        """Return what of a text is shown: all but the space behind a thought."""
        if self._skips_space:
            text = text.lstrip()
        if self._run or any(mark in text for mark in _OF_CODE_AND_LINES):
            for character in text:
                self._take(character)
        else:
            self._take_words(text)
        return text

    def thought_ended(self) -> None:
        """Take note that a thought stood here."""
        self.is_behind_thought = True
        self._skips_space = not self.has_text or self.last.isspace()

    def settle(self) -> None:
        """Take note that a run of marks of code does not go on."""
        run, self._run = self._run, ""
        if not run:
            return
        if self.fence:
            self._in_block(run)
        elif len(run) >= _FENCE and self._run_begins_line:
            self.fence, self._fence_began_here = run, True
        elif run[0] == "`":
            self._toggle_span(len(run))

    def _in_block(self, run: str) -> None:
        if self._fence_began_here and run[0] == "`":
            # "```code```" in one line is a code span.
            self.fence = ""
        elif self._run_begins_line and run.startswith(self.fence):
            self.fence = ""

    def _toggle_span(self, length: int) -> None:
        if self.inline == length:
            self.inline = 0
        elif not self.inline:
            self.inline = length

    def _take_words(self, text: str) -> None:
        """Take a text without marks of code and in one line: the same as all of its characters one by one."""
        self.last = text[-1:] or self.last
        said = text.strip()
        if not said:
            return
        self.is_blank_line = False
        self.is_list_mark = self.is_list_mark and all(part in _LIST_MARKS for part in said if not part.isspace())
        self.has_text, self.last_mark = True, said[-1]
        self.is_behind_thought = self._skips_space = False

    def _take(self, character: str) -> None:
        if self._run and character != self._run[0]:
            self.settle()
        if character in "`~":
            self._run_begins_line = self._run_begins_line if self._run else self.is_blank_line
            self._run += character
        if character == "\n":
            self.inline, self._fence_began_here = 0, False
            self.is_blank_line = self.is_list_mark = True
        elif not character.isspace():
            self.is_blank_line = False
            self.is_list_mark = self.is_list_mark and character in _LIST_MARKS
        if not character.isspace():
            self.has_text, self.last_mark = True, character
            self.is_behind_thought = self._skips_space = False
        self.last = character
