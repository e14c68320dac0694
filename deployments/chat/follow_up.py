"""Questions that lean on the one before: "and its population?"."""

import re
from collections.abc import Sequence

from deployments.values.language import Exchange

_OPENING = re.compile(r"^\W*(and|or|but|so|also|then|what about|how about|why|why not|else|what else)\b", re.IGNORECASE)
_REFERENCE = re.compile(
    r"\b(it|its|they|their|them|he|his|him|she|her|this|that|these|those|there|one|ones|same|other|others)\b",
    re.IGNORECASE,
)
_LONGEST_OPENED_WORDS = 12
_SHORTEST_WHOLE_WORDS = 3


def is_follow_up(question: str) -> bool:
    """Say whether a question cannot be understood by itself: it opens as a continuation, refers back, or is a fragment.

    English only: a question in another language is taken as it is.
    """
    words = question.split()
    if len(words) < _SHORTEST_WHOLE_WORDS or _REFERENCE.search(question):
        return True
    return len(words) <= _LONGEST_OPENED_WORDS and bool(_OPENING.match(question))


def resolve(question: str, history: Sequence[Exchange]) -> str:
    """Return a question that can be searched for: a follow-up comes with the last question that stood by itself."""
    if not history or not is_follow_up(question):
        return question
    base = next((turn.question for turn in reversed(history) if not is_follow_up(turn.question)), "")
    return f"{base} {question}".strip()
