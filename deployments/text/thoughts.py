"""Parts the thoughts of a model from its answer while both stream in.

What counts as a thought, and what as text that talks about the marks of thoughts:

* A mark that opens a thought does so at the beginning of an answer, of a line, or behind another thought. The thought
  goes on to the mark that closes it, or to the end.
* In a code span or a block of code a mark is text.
* In quotes a mark is text, and in a thought it closes nothing.
* In the middle of a line a mark opens a thought where it touches a word, where a line ends behind it, or where the
  thought is closed again with more between than a word like "and". "Models write <think> first" and "between <think>
  and </think>" are text. What follows such a mark is held back until that is known, for `_LONGEST_DOUBT` characters at
  most.
* `<plan>` and its like open a thought at the beginning of an answer only, and one that is never closed is text.
* Behind a colon, `<reasoning>high</reasoning>` in a line of its own is an element of a file, and text.
* Behind a thought that holds another one of its name, text is held back until it is known which mark was the last.
* A closing mark without an opening one means that the answer began inside a thought, which the model's template had
  opened: see `Beginning`. Between words, as in "the tag </think> ends it", it is text.
"""

import re
from enum import Enum, auto
from typing import NamedTuple

from deployments.text.thought_markers import Marker, MarkerKind, marker_at, may_become_marker, next_start
from deployments.text.visible_text import VisibleText

_LONGEST_DOUBT = 4096
_LONGEST_CODE_SPAN = 512
_LONGEST_MARKER = 256
_LONGEST_BEGINNING = 65_536
_DEEPEST = 8
_UNNAMED = ""
_NAMES_OF_UNNAMED = frozenset({"think", "thinking"})
_QUOTES = {"`": "`", '"': '"', "'": "'", "“": "”", "‘": "’", "„": "“", "«": "»", "(": ")"}
_SENTENCE_ENDS = ".!?:…。！？"
_CLOSES_ONLY_ITS_OWN = frozenset({"here is", "analysis", "details"})
_OF_BEGINNINGS = frozenset({"reason", "plan", "planning"})
_TEXT_IF_UNCLOSED = _OF_BEGINNINGS | {"analysis"}
_ELEMENTS = frozenset("reasoning reflection scratchpad analysis rationale reason plan planning".split())
_LONGEST_VALUE = 40
_CONNECTIVES = frozenset("and or to with the a tag tags then und oder bis et ou y o e en closing opening its".split())
_WORD = re.compile(r"\w+")


class Beginning(Enum):
    """Where an answer begins."""

    OUTSIDE = auto()
    """Outside any thought; a thought opens with a mark."""
    INSIDE = auto()
    """Inside a thought, which the model's template has opened."""
    UNKNOWN = auto()
    """Not known: the answer is held back until it is."""


class Separated(NamedTuple):
    """A piece of what a model wrote: its text, and its thought. A tuple, because each token is one."""

    text: str = ""
    thought: str = ""


class ThoughtFilter:
    """Parts one answer as it comes, in pieces of any size.

    The parts are the same however the pieces are cut. What it holds back is bounded: a piece that may be the beginning
    of a mark, or what the module's documentation says.

    Args:
        beginning: Where the answer begins. `UNKNOWN` holds it back until a thought is closed that was never opened,
            until a thought is opened at its very beginning, or until `begins_outside` or `finish` is called, but for
            65,536 characters at most.

    Attributes:
        beginning: The same, as far as it is known by now.
        began_inside: Whether a thought was closed that was never opened, behind text that was shown.
        is_sure: Whether the mark that closed it stands as at a thought's end: in a line of its own or before an empty
            line, and not behind a colon, where a text shows it.
    """

    def __init__(self, beginning: Beginning = Beginning.OUTSIDE) -> None:
        self.beginning = beginning
        self.began_inside = False
        self.is_sure = False
        self._open: list[str] = [_UNNAMED] if beginning is Beginning.INSIDE else []
        self._visible = VisibleText()
        self._buffer = ""
        self._at = 0
        self._last = ""
        self._final = False
        self._cut = False
        self._wrapper = ""
        self._has_marks = False
        self._has_thought = False
        self._text: list[str] = []
        self._thought: list[str] = []
        self._unclosed: list[str] = []
        self._holds_same = False
        self._before_doubt: Beginning | None = None
        self._doubtful: list[str] = []
        self._doubtful_characters = 0

    def feed(self, text: str) -> Separated:
        """Take what comes next; return what is sure by now."""
        self._buffer += text
        while self._at < len(self._buffer):
            if not (self._thought_step() if self._open else self._text_step()):
                break
        self._last = self._buffer[: self._at][-1:] or self._last
        self._buffer, self._at = self._buffer[self._at :], 0
        return self._taken()

    @property
    def held_back(self) -> str:
        """What was read of an answer while it is unknown where that began."""
        return "" if self._before_doubt else "".join(self._doubtful)

    def begins_outside(self) -> Separated:
        """Take note that the answer does not begin inside a thought; return what was held back for it."""
        if self.beginning is Beginning.UNKNOWN and self._before_doubt is None:
            self._release(Beginning.OUTSIDE)
        elif self._open == [_UNNAMED] and not self._has_thought:
            self.beginning, self._open = Beginning.OUTSIDE, []
        return self._taken()

    def finish(self, *, cut: bool = False, doubtful_is_thought: bool = False) -> Separated:
        """Take the end of the answer; return what was held back.

        Args:
            cut: Whether the model was stopped before it had finished.
            doubtful_is_thought: Whether an answer counts as a thought of which the beginning is still unknown.
        """
        self._final, self._cut = True, cut
        last = self.feed("")
        if self.beginning is Beginning.UNKNOWN:
            is_thought = doubtful_is_thought and self._before_doubt is None
            self._release(Beginning.INSIDE if is_thought else Beginning.OUTSIDE)
        if cut:
            self._settle_unclosed()
        self._text.extend(self._unclosed)
        released = self._taken()
        return Separated(last.text + released.text, last.thought + released.thought)

    def _taken(self) -> Separated:
        taken = Separated("".join(self._text), "".join(self._thought))
        self._text, self._thought = [], []
        return taken

    def _text_step(self) -> bool:
        """Go on in text; say whether more can be done before more comes."""
        at_beginning = not self._visible.has_text
        place = next_start(self._buffer, self._at, at_beginning=at_beginning, in_thought=False)
        self._show_to(place)
        if place == len(self._buffer):
            return False
        # The text before it may have been the first.
        at_beginning = not self._visible.has_text
        marker = marker_at(self._buffer, place, at_beginning=at_beginning, in_thought=False)
        if marker is None:
            if not self._final and may_become_marker(self._buffer, place, at_beginning=at_beginning, in_thought=False):
                return False
            self._show_to(place + 1)
            return True
        if self._needs_more(marker.end + 2):
            return False
        return self._marker_in_text(marker)

    def _marker_in_text(self, marker: Marker) -> bool:
        self._visible.settle()
        code_end = self._code_end(marker)
        if code_end is None:
            return False
        if code_end:
            self._show_to(code_end)
            return True
        match marker.kind:
            case MarkerKind.OPEN:
                return self._opening(marker)
            case MarkerKind.CLOSE:
                self._closing_unopened(marker)
            case MarkerKind.ANSWER:
                self._answer_in_text(marker)
            case MarkerKind.ASIDE:
                self._drop_or_show(marker, is_mark=self._is_aside(marker))
            case MarkerKind.WRAPPER:
                is_mark = self._visible.is_behind_thought
                self._drop_or_show(marker, is_mark=is_mark)
                self._wrapper = marker.name if is_mark else self._wrapper
            case MarkerKind.WRAPPER_END:
                self._drop_or_show(marker, is_mark=self._wrapper == marker.name)
        return True

    def _is_aside(self, marker: Marker) -> bool:
        return marker.name == "box" or self._has_marks or self._visible.is_blank_line

    def _opening(self, marker: Marker) -> bool:
        """Open a thought, or show a mark that is only talked about; say whether that could be decided."""
        element_end = self._element_end(marker)
        if element_end is None:
            return False
        if element_end:
            self._show_to(element_end)
            return True
        return self._opening_or_talk(marker)

    def _opening_or_talk(self, marker: Marker) -> bool:
        if marker.is_sure or self._visible.is_blank_line or self._visible.is_behind_thought:
            self._begin_thought(marker)
            return True
        following = self._buffer[marker.end : marker.end + 1]
        if self._is_quoted_text(following):
            self._show_to(marker.end)
            return True
        touches = self._visible.last.isalnum() or following.isalnum()
        if touches or (following in {"\n", "\r"} and not self._visible.is_list_mark):
            self._begin_thought(marker)
            return True
        close = self._closing_of(marker)
        if close is not None:
            between = _WORD.findall(self._buffer[marker.end : close[0]].lower())
            if all(word in _CONNECTIVES for word in between):
                self._show_to(close[1])
            else:
                self._begin_thought(marker)
            return True
        if self._needs_more(marker.end + _LONGEST_DOUBT + _LONGEST_MARKER):
            return False
        if self._final and self._cut:
            self._begin_thought(marker)
        else:
            self._show_to(marker.end)
        return True

    def _element_end(self, marker: Marker) -> int | None:
        """Return up to where a mark is one of a file's elements; 0 where it is none, None where that is not known."""
        if not self._visible.has_text or self._visible.is_behind_thought:
            return 0
        if marker.name in _OF_BEGINNINGS:
            return marker.end
        if marker.name not in _ELEMENTS or self._visible.last_mark != ":" or not self._visible.is_blank_line:
            return 0
        limit = marker.end + _LONGEST_VALUE + len(f"</{marker.name}>")
        line = self._buffer[marker.end : limit + 1]
        value, newline, _ = line.partition("\n")
        if not newline and self._needs_more(limit + 1):
            return None
        is_element = value.rstrip().lower().endswith(f"</{marker.name}>")
        return marker.end + len(value) if is_element else 0

    def _closing_of(self, marker: Marker) -> tuple[int, int] | None:
        """Return where the mark stands, from and to, that closes the thought which a mark would open."""
        at = marker.end
        while (at := next_start(self._buffer, at, at_beginning=False, in_thought=True)) < len(self._buffer):
            if at > marker.end + _LONGEST_DOUBT:
                return None
            found = marker_at(self._buffer, at, at_beginning=False, in_thought=True)
            # Models take the name of another family now and then.
            closes = found is not None and found.kind is MarkerKind.CLOSE and found.name not in _CLOSES_ONLY_ITS_OWN
            if found is not None and closes and not self._is_quoted(at, found.end):
                return None if self._needs_more(found.end + 1) else (at, found.end)
            at = found.end if found else at + 1
        return None

    def _closing_unopened(self, marker: Marker) -> None:
        """Take a mark that closes a thought which no mark has opened."""
        if not self._visible.has_text or self._visible.is_behind_thought:
            self._drop(marker)
            self._visible.thought_ended()
        elif marker.name in _OF_BEGINNINGS or self._is_talk(marker):
            self._show_to(marker.end)
        else:
            self.is_sure = self.is_sure or self._stands_as_an_end(marker)
            self._drop(marker)
            # The end of a message closes whatever was in it.
            if marker.name != "channel":
                self._began_inside()
            self._visible.thought_ended()

    def _answer_in_text(self, marker: Marker) -> None:
        if not marker.is_sure and self._is_talk(marker):
            self._show_to(marker.end)
            return
        self._drop(marker)
        if self._visible.has_text and not self._has_thought:
            self.is_sure = True
            self._began_inside()
        self._visible.thought_ended()

    def _stands_as_an_end(self, marker: Marker) -> bool:
        following = self._buffer[marker.end : marker.end + 2]
        ends_line = following[:1] in {"", "\n", "\r"}
        is_apart = (self._visible.is_blank_line and ends_line) or following == "\n\n"
        return is_apart and self._visible.last_mark not in {":", "："}

    def _began_inside(self) -> None:
        if self.beginning is Beginning.UNKNOWN:
            self._release(Beginning.INSIDE)
        else:
            self.began_inside = True

    def _is_talk(self, marker: Marker) -> bool:
        """Say whether a closing mark stands between the words of a sentence, or in quotes."""
        before = self._visible.last
        following = self._buffer[marker.end : marker.end + 1]
        if self._is_quoted_text(following):
            return True
        if self._visible.is_blank_line or following in {"", "\n", "\r"} or following.isalnum():
            return False
        ends_sentence = (
            self._visible.last_mark in _SENTENCE_ENDS or self._buffer[marker.end + 1 : marker.end + 2].isupper()
        )
        return before.isspace() and not ends_sentence

    def _is_quoted_text(self, following: str) -> bool:
        """Say whether a mark stands in quotes, behind what was shown."""
        return following != "" and _QUOTES.get(self._visible.last) == following

    def _code_end(self, marker: Marker) -> int | None:
        """Return up to where a mark, or more, is code; 0 where it is none, None where that is not known."""
        if self._visible.fence:
            return marker.end
        if not self._visible.inline:
            return 0
        span_end = self._code_span_end(marker.end)
        if span_end == 0:
            self._visible.inline = 0
        return span_end

    def _code_span_end(self, start: int) -> int | None:
        """Return where the code span ends that may go on here; 0 where none does, None where that is not known."""
        limit = start + _LONGEST_CODE_SPAN
        line_end = self._buffer.find("\n", start, limit)
        stop = line_end if line_end >= 0 else min(limit, len(self._buffer))
        is_open_end = line_end < 0 and stop == len(self._buffer) and not self._final and stop < limit
        for run in re.finditer("`+", self._buffer[start:stop]):
            if is_open_end and start + run.end() == stop:
                return None
            if run.end() - run.start() == self._visible.inline:
                return start + run.end()
        return None if is_open_end else 0

    def _begin_thought(self, marker: Marker) -> None:
        if self.beginning is Beginning.UNKNOWN and not self._visible.has_text:
            self._release(Beginning.OUTSIDE)
        self._open = [marker.name]
        self._unclosed = [self._buffer[self._at : marker.end]] if marker.name in _TEXT_IF_UNCLOSED else []
        self._drop(marker)

    def _thought_step(self) -> bool:
        """Go on in a thought; say whether more can be done before more comes."""
        place = next_start(self._buffer, self._at, at_beginning=False, in_thought=True)
        self._think_to(place)
        if place == len(self._buffer):
            return False
        marker = marker_at(self._buffer, place, at_beginning=False, in_thought=True)
        if marker is None:
            if not self._final and may_become_marker(self._buffer, place, at_beginning=False, in_thought=True):
                return False
            self._think_to(place + 1)
            return True
        if self._needs_more(marker.end + 2):
            return False
        if self._is_quoted(place, marker.end):
            self._think_to(marker.end)
        elif marker.kind is MarkerKind.OPEN:
            self._opening_in_thought(marker)
        elif marker.kind is MarkerKind.CLOSE:
            self._closing(marker)
        elif marker.kind is MarkerKind.ANSWER and (marker.is_sure or {marker.name, _UNNAMED} & {*self._open}):
            self._end_thought(marker)
        else:
            self._think_to(marker.end)
        return True

    def _opening_in_thought(self, marker: Marker) -> None:
        """Take a mark that opens a thought inside another one."""
        is_unnamed = self._open == [_UNNAMED]
        if marker.name == "channel" or (is_unnamed and not self._has_thought):
            self._settle_unclosed()
            self._open = [marker.name]
            self._drop(marker)
            return
        if marker.name == self._open[-1] and not self._stands_between_words(marker):
            self._holds_same = True
        is_known = marker.name in self._open or (is_unnamed and marker.name in _NAMES_OF_UNNAMED)
        if not is_known and len(self._open) < _DEEPEST:
            self._open.append(marker.name)
        self._think_to(marker.end)

    def _closing(self, marker: Marker) -> None:
        """Take a mark that closes a thought, this one or one around it."""
        closed = [name for name in self._open if _closes(marker, name)]
        if closed:
            del self._open[self._open.index(closed[0]) :]
        elif marker.name in _CLOSES_ONLY_ITS_OWN:
            pass
        elif self._open[0] == _UNNAMED or not self._is_mid_sentence(marker):
            self._open = []
        if self._open:
            self._think_to(marker.end)
        else:
            self._end_thought(marker)

    def _is_mid_sentence(self, marker: Marker) -> bool:
        """Say whether a mark that closes another thought than is open stands between words, and is none."""
        before = self._before(self._at)
        return before in {" ", "\t"} and self._buffer[marker.end : marker.end + 1] not in {"", "\n", "\r"}

    def _stands_between_words(self, marker: Marker) -> bool:
        return self._before(self._at) in {" ", "\t"} and self._buffer[marker.end : marker.end + 1] in {" ", "\t"}

    def _settle_unclosed(self) -> None:
        """Take for a thought what might have been text until the mark came that closes it."""
        self._thought.extend(self._unclosed[1:])
        self._unclosed = []

    def _end_thought(self, marker: Marker) -> None:
        self._settle_unclosed()
        self._open = []
        self._drop(marker)
        self._visible.thought_ended()
        if self._holds_same and self.beginning is not Beginning.UNKNOWN and marker.kind is MarkerKind.CLOSE:
            self._before_doubt, self.beginning = self.beginning, Beginning.UNKNOWN
        self._holds_same = False

    def _is_quoted(self, start: int, end: int) -> bool:
        following = self._buffer[end : end + 1]
        return following != "" and _QUOTES.get(self._before(start)) == following

    def _before(self, place: int) -> str:
        """Return the character before a place; empty at the beginning of the answer."""
        return self._buffer[place - 1] if place else self._last

    def _needs_more(self, end: int) -> bool:
        return not self._final and len(self._buffer) < end

    def _drop(self, marker: Marker) -> None:
        self._has_marks = True
        self._at = marker.end

    def _drop_or_show(self, marker: Marker, *, is_mark: bool) -> None:
        if is_mark:
            self._drop(marker)
        else:
            self._show_to(marker.end)

    def _think_to(self, end: int) -> None:
        thought = self._buffer[self._at : end]
        self._has_thought = self._has_thought or bool(thought.strip())
        (self._unclosed or self._thought).append(thought)
        self._at = end

    def _show_to(self, end: int) -> None:
        shown = self._visible.take(self._buffer[self._at : end])
        self._at = end
        if self.beginning is not Beginning.UNKNOWN:
            self._text.append(shown)
            return
        self._doubtful.append(shown)
        self._doubtful_characters += len(shown)
        if self._doubtful_characters > _LONGEST_BEGINNING:
            self._release(Beginning.OUTSIDE)

    def _release(self, beginning: Beginning) -> None:
        """Say where the answer began, which makes a text or a thought of what was held back."""
        held = "".join(self._doubtful)
        self._doubtful = []
        self.beginning, self._before_doubt = self._before_doubt or beginning, None
        if beginning is Beginning.OUTSIDE:
            self._text.append(held)
        else:
            self._thought.append(held)
            self._visible = VisibleText()


def _closes(marker: Marker, name: str) -> bool:
    """Say whether a closing mark is meant for a thought of a name. The end of a message also ends a thought in it."""
    return marker.name == name or (marker.name, name) == ("channel", "bars")


def ends_inside(prompt: str) -> bool:
    """Say whether a prompt ends inside a thought that its template has opened, so that the answer begins there.

    Args:
        prompt: As the model reads it, at least the part behind the last message.
    """
    inside, at = False, 0
    while (at := next_start(prompt, at, at_beginning=False, in_thought=False)) < len(prompt):
        marker = marker_at(prompt, at, at_beginning=False, in_thought=False)
        if marker is not None and marker.kind in {MarkerKind.OPEN, MarkerKind.CLOSE, MarkerKind.ANSWER}:
            inside = marker.kind is MarkerKind.OPEN
        at = marker.end if marker else at + 1
    return inside
