"""The marks that models put around their thoughts, family by family, and around the answer behind them.

Taken from the templates of the models and the reasoning parsers of vLLM, SGLang, llama.cpp and Ollama:

* `<think>`, `<thinking>`, `<thought>`, `<reasoning>`, `<reflection>` and their kin, with or without a name before a
  colon or an underscore (`<seed:think>`, `<mm:think>`, `<longcat_think>`) and with attributes: DeepSeek, Qwen, GLM,
  Nemotron, Phi, Olmo, EXAONE, Hunyuan, Seed, MiniMax, LongCat, Granite 3.3, Reflection. Capitals do not matter.
* `<|channel|>analysis<|message|>`, closed by the next message: gpt-oss (harmony). Only the channel `final` is the
  answer. With its special tokens left out by the server: `analysis…assistantfinal…`.
* `<reason>`, `<plan>`, `<antThinking>`, `<chain-of-thought>`: prompts that models were trained with.
* `<unused94>`, `<unused95>`: MedGemma. `<|begin_of_box|>`, `<|end_of_box|>` stand around the answer of GLM-4.5V.
* `<|channel>thought`, `<channel|>`: Gemma 4.
* `[THINK]`, `[/THINK]`: Mistral. `[unused16]`, `[unused17]`: Pangu. `◁think▷`, `◁/think▷`: Kimi.
* `<|START_THINKING|>`: Command. `<|begin_of_thought|>`: Sky-T1, OpenThinker. `<|inner_prefix|>`: Apertus.
  `<|think|>`: Solar. `<|content_thinking|>`: Inkling. `<|open|>think<|sep|>`: Kimi K3.
* "Here is my thought process:", "Here is my response:": Granite 3.2.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

_BAR = "[|｜]"
_NAME = (
    r"(?:[\w.-]{1,24}[:_])?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis|rationale"
    r"|reason|plan|planning|antthinking|(?:inner|internal)_(?:monologue|thoughts)|chain[_-]of[_-]thought|cot)(?:[:_][\w.-]{1,24})?"
)
_ATTRIBUTES = r"\s[^<>\n]{0,80}"
_THINKING = r"(?:think|thinking|thought|reasoning)"
_ANSWERING = r"(?:response|text|answer|solution|output)"
_CHANNEL = rf"<{_BAR}channel{_BAR}?>"
_HEADER = r"[^\n<]{0,80}(?:<[|｜]constrain[|｜]>[^\n<]{0,80})?"


class MarkerKind(Enum):
    """What a mark says of the text behind it."""

    OPEN = auto()
    """A thought begins."""
    CLOSE = auto()
    """A thought ends."""
    ANSWER = auto()
    """The answer begins, whatever was before."""
    ASIDE = auto()
    """Neither: it ends an answer, or stands between two messages."""
    WRAPPER = auto()
    """The answer begins, where it stands directly behind a thought; else it is text."""
    WRAPPER_END = auto()
    """The end of that."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A mark in a text.

    Attributes:
        kind: What it says.
        name: Of the thought or wrapper that it opens or closes, in small letters.
        end: Where the text goes on.
        is_sure: Whether nobody writes it who merely talks about marks.
    """

    kind: MarkerKind
    name: str
    end: int
    is_sure: bool = False


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_Family = tuple[re.Pattern[str], MarkerKind, str]
_IN_BRACKETS: tuple[_Family, ...] = (
    # The channel of harmony that is shown; all others are not. Its name may be followed by a recipient.
    (_compiled(rf"{_CHANNEL}final(?:{_HEADER}<{_BAR}message{_BAR}>|\n)"), MarkerKind.ANSWER, "channel"),
    (
        _compiled(rf"{_CHANNEL}(?:[a-z]+{_HEADER}<{_BAR}message{_BAR}>|(?:analysis|commentary|thought|thinking)\n)"),
        MarkerKind.OPEN,
        "channel",
    ),
    (_compiled(rf"<{_BAR}start{_BAR}>[a-z]+{_HEADER}<{_BAR}message{_BAR}>"), MarkerKind.ANSWER, "channel"),
    (_compiled(rf"<{_BAR}start{_BAR}>[a-z]+{_HEADER}(?=<{_BAR}channel)"), MarkerKind.ASIDE, "channel"),
    (_compiled(rf"<{_BAR}(?:end|return|call|end_message|eom){_BAR}>"), MarkerKind.CLOSE, "channel"),
    (_compiled(rf"<channel{_BAR}>"), MarkerKind.CLOSE, "channel"),
    (_compiled(rf"<{_BAR}open{_BAR}>think<{_BAR}sep{_BAR}>"), MarkerKind.OPEN, "bars"),
    (_compiled(rf"<{_BAR}close{_BAR}>think<{_BAR}sep{_BAR}>"), MarkerKind.CLOSE, "bars"),
    (_compiled(rf"<{_BAR}open{_BAR}>response<{_BAR}sep{_BAR}>"), MarkerKind.ANSWER, "bars"),
    (_compiled(rf"<{_BAR}close{_BAR}>(?:response|message)<{_BAR}sep{_BAR}>"), MarkerKind.ASIDE, "bars"),
    (_compiled(rf"<{_BAR}(?:end_?(?:of_)?|/){_THINKING}{_BAR}>"), MarkerKind.CLOSE, "bars"),
    (_compiled(rf"<{_BAR}{_THINKING}_?(?:end|stop){_BAR}>"), MarkerKind.CLOSE, "bars"),
    (_compiled(rf"<{_BAR}inner_suffix{_BAR}>"), MarkerKind.CLOSE, "bars"),
    (
        _compiled(rf"<{_BAR}(?:(?:start|begin)_?(?:of_)?)?{_THINKING}(?:_?(?:start|begin))?{_BAR}>"),
        MarkerKind.OPEN,
        "bars",
    ),
    (_compiled(rf"<{_BAR}(?:inner_prefix|content_thinking){_BAR}>"), MarkerKind.OPEN, "bars"),
    (_compiled(rf"<{_BAR}(?:(?:start|begin)_?(?:of_)?{_ANSWERING}|content_text){_BAR}>"), MarkerKind.ANSWER, "bars"),
    (
        _compiled(rf"<{_BAR}(?:end_?(?:of_)?{_ANSWERING}|message_model|content_model_end_sampling){_BAR}>"),
        MarkerKind.ASIDE,
        "bars",
    ),
    # "[thinking] about it" is text.
    (_compiled(r"\[(?-i:THINK(?:ING)?)\]|\[THINK(?:ING)?\](?! )|\[unused16\]"), MarkerKind.OPEN, "brackets"),
    (_compiled(r"\[/THINK(?:ING)?\]|\[unused17\]"), MarkerKind.CLOSE, "brackets"),
    (_compiled("<unused94>"), MarkerKind.OPEN, "unused"),
    (_compiled("<unused95>"), MarkerKind.CLOSE, "unused"),
    (_compiled(rf"<{_BAR}(?:begin|end)_of_box{_BAR}>"), MarkerKind.ASIDE, "box"),
    (_compiled("◁think(?:ing)?▷"), MarkerKind.OPEN, "triangles"),
    (_compiled("◁/think(?:ing)?▷"), MarkerKind.CLOSE, "triangles"),
)
_PHRASES_OF_THOUGHTS: tuple[_Family, ...] = (
    (_compiled(r"Here(?:'s|’s| is) my response:"), MarkerKind.CLOSE, "here is"),
    (re.compile("assistantfinal"), MarkerKind.CLOSE, "analysis"),
)
_PHRASES_OF_BEGINNINGS: tuple[_Family, ...] = (
    (_compiled(r"Here(?:'s|’s| is) my thought process:"), MarkerKind.OPEN, "here is"),
    (re.compile(r"(?:assistant)?analysis(?=[^\W\d_a-z])"), MarkerKind.OPEN, "analysis"),
)
_TAG = _compiled(rf"<(?P<close>/?)(?P<name>{_NAME})(?:{_ATTRIBUTES})?>")
_DETAILS = _compiled(r'<details type="reasoning"[^<>\n]{0,80}>')
_DETAILS_END = _compiled(r"</details>")
_WRAPPER = _compiled(r"<(?P<close>/?)(?P<name>answer|response|output|final|final_answer|solution)>")

_MAY_BECOME = _compiled(
    "|".join(
        (
            r"</?[\w:.-]{0,64}",
            rf"</?{_NAME}{_ATTRIBUTES}",
            r'<details(?: (?:t(?:y(?:p(?:e(?:="?[a-z]{0,9}(?:"[^<>\n]{0,80})?)?)?)?)?)?)?',
            rf"<[|｜]/?\w{{0,32}}{_BAR}?",
            rf"<{_BAR}(?:open|close){_BAR}>[a-z]{{0,8}}(?:<{_BAR}?(?:s(?:e(?:p{_BAR}?)?)?)?)?",
            rf"<{_BAR}(?:channel{_BAR}?|start{_BAR})>(?:[a-z]+{_HEADER}(?:<{_BAR}?[a-z]{{0,9}}{_BAR}?)?)?",
            rf"<channel{_BAR}?",
            r"\[/?[a-z0-9]{0,8}",
            r"◁/?[a-z]{0,8}",
        )
    )
)
_PHRASES = ("here's my response:", "here’s my response:", "here is my response:", "assistantfinal")
_OPENING_PHRASES = (
    "here's my thought process:",
    "here’s my thought process:",
    "here is my thought process:",
    "analysis",
    "assistantanalysis",
)
_START = re.compile("[<[◁]")
_START_OR_PHRASE = re.compile("[<[◁Hha]")


def marker_at(text: str, start: int, *, at_beginning: bool, in_thought: bool) -> Marker | None:
    """Return the mark that stands at a place of a text; None where none does.

    Args:
        text: As far as it is known.
        start: The place.
        at_beginning: Whether nothing of the answer stands before it.
        in_thought: Whether it stands in a thought. Phrases that close one are marks only there.
    """
    if not _START.match(text, start):
        families = (*(_PHRASES_OF_BEGINNINGS if at_beginning else ()), *(_PHRASES_OF_THOUGHTS if in_thought else ()))
        return _first_of(families, text, start, is_sure=True)
    return _tag_at(text, start, in_thought=in_thought) or _first_of(_IN_BRACKETS, text, start)


def _tag_at(text: str, start: int, *, in_thought: bool) -> Marker | None:
    if match := _TAG.match(text, start):
        return Marker(MarkerKind.CLOSE if match["close"] else MarkerKind.OPEN, match["name"].lower(), match.end())
    if match := _WRAPPER.match(text, start):
        kind = MarkerKind.WRAPPER_END if match["close"] else MarkerKind.WRAPPER
        return Marker(kind, match["name"].lower(), match.end())
    if match := _DETAILS.match(text, start):
        return Marker(MarkerKind.OPEN, "details", match.end(), is_sure=True)
    if in_thought and (match := _DETAILS_END.match(text, start)):
        return Marker(MarkerKind.CLOSE, "details", match.end())
    return None


def _first_of(families: Iterable[_Family], text: str, start: int, *, is_sure: bool = False) -> Marker | None:
    for pattern, kind, name in families:
        if match := pattern.match(text, start):
            return Marker(kind, name, match.end(), is_sure=is_sure or name == "channel")
    return None


def may_become_marker(text: str, start: int, *, at_beginning: bool, in_thought: bool) -> bool:
    """Say whether what stands at a place, to the end of the text, could be the beginning of a mark."""
    if _START.match(text, start):
        return _MAY_BECOME.fullmatch(text, start) is not None
    phrases = (*(_PHRASES if in_thought else ()), *(_OPENING_PHRASES if at_beginning else ()))
    rest = text[start:]
    return any(phrase.startswith((rest, "h" + rest[1:].lower() if rest[0] in "Hh" else rest)) for phrase in phrases)


def next_start(text: str, start: int, *, at_beginning: bool, in_thought: bool) -> int:
    """Return the first place, from `start`, at which a mark may begin; the length of the text where there is none."""
    found = (_START_OR_PHRASE if at_beginning or in_thought else _START).search(text, start)
    return found.start() if found else len(text)
