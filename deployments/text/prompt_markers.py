"""The marks of chat templates, where they stand in texts that go into a prompt: questions, documents, earlier turns.

A tokenizer reads "<|im_end|>" in a document as the end of the message. So such marks are written with a space in them,
which no vocabulary has as one token: "< |im_end|>".
"""

import re
from collections.abc import Collection

_BAR = "[|｜]"
_CANDIDATE = re.compile(
    rf"<{_BAR}[^\s<>]{{1,64}}>|<[^\s<>]{{1,64}}{_BAR}>|<<?/?[A-Za-z_][\w:./-]{{0,63}}>>?"
    r"|\[/?[A-Za-z][\w|]{1,62}\]|\[\|[^\s\[\]]{1,62}\|\]|\][~!]{1,2}b[\[\]]|\[e~\[|[◁〈][^\s◁▷〈〉]{1,62}[▷〉]|\|<[^\s<>]{1,62}>\|"
)
"""Everything that has the form of a mark. Tags of HTML have it, too, and footnotes such as "[1]" do not."""

_BEGINNINGS = "<[]|◁〈"
"""What a candidate begins with. Most texts have none of it, and that is seen faster than the expression sees it."""

_ALWAYS = re.compile(
    rf"""<{_BAR}[^\s<>]+>|<[^\s<>]+{_BAR}>                # ChatML, Llama 3, gpt-oss, Phi, Command, DeepSeek, Gemma 4 …
    |</?(?:start|end)_of_(?:turn|image|audio|speech)>     # Gemma
    |<</?SYS>>|\[/?INST\]                                 # Llama 2, Mistral
    |\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|MODEL_SETTINGS|ARGS|CALL_ID|THINK)\]
    |\[(?:BOS|EOS|EOT|gMASK|sMASK)\]|<(?:sop|eop|eoa|eoh|eom|eot|eod)>   # Kimi, GLM, InternLM
    |\[\|[^\s]+\|\]|\][~!]{{1,2}}b[\[\]]|\[e~\[           # EXAONE, MiniMax
    |<(?:BOS|EOS|PAD|UNK|CLS|SEP|MASK|EOP)_TOKEN>|<_(?:user|bot|end|system|start|pad|unk)>  # Command, TeleChat
    |\[(?:unused|UNUSED_TOKEN_)\d+\]|<end_of_utterance>   # Pangu, InternLM, SmolVLM
    |<(?:seed|mm|hy):[\w:]+>|<role>|</role>|<reserved_\d+>|<extra_id_\d+>|<SPECIAL_\d+>|<unused\d+>|<__media__>""",
    re.VERBOSE,
)
"""Marks that are nothing else, or that stand in templates as plain text, so that no vocabulary tells them."""

_PERHAPS = re.compile(
    r"</?s>|<(?:bos|eos|pad|unk|mask|sep|cls|image|audio|video|image_soft_token|IMG_CONTEXT)>"
    r"|\[(?:CLS|SEP|PAD|UNK|MASK|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|PREFIX|MIDDLE|SUFFIX)\]"
)
"""Marks of many vocabularies that have another sense elsewhere: `<s>` is a tag of HTML."""


def marker_candidates(text: str) -> set[str]:
    """Return what in a text has the form of a mark, and is one if a model's vocabulary has it as one token.

    What is a mark for every model is not among it.
    """
    if not _may_hold_candidates(text):
        return set()
    found = {match[0] for match in _CANDIDATE.finditer(text)}
    return {one for one in found if not _ALWAYS.fullmatch(one)}


def usual_markers(candidates: Collection[str]) -> set[str]:
    """Return which of some candidates are marks of many models, for who cannot ask the model's vocabulary."""
    return {one for one in candidates if _PERHAPS.fullmatch(one)}


def without_markers(text: str, markers: Collection[str] = ()) -> str:
    """Return a text in which no mark is one: those of the table, which any template may have, and `markers`.

    >>> without_markers("Say <|im_end|> or </s>.", {"</s>"})
    'Say < |im_end|> or < /s>.'
    """
    if not _may_hold_candidates(text):
        return text

    def apart(match: re.Match[str]) -> str:
        mark = match[0]
        return f"{mark[0]} {mark[1:]}" if mark in markers or _ALWAYS.fullmatch(mark) else mark

    return _CANDIDATE.sub(apart, text)


def _may_hold_candidates(text: str) -> bool:
    return any(beginning in text for beginning in _BEGINNINGS)
