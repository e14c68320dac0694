"""Which words of successive partial transcripts can be trusted: those that two in a row begin with.

The method is LocalAgreement-2 of Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by
Partial Hypothesis Selection" (https://arxiv.org/abs/2005.11185). A partial transcript of a growing utterance changes
its last words most, so what two of them agree on from the beginning has nearly always stayed.
"""

from collections.abc import Sequence
from itertools import takewhile

from deployments.text.words import bare
from deployments.values.speech import Agreement

_LOOKED_AHEAD = 3


def agree(agreement: Agreement, transcript: str) -> Agreement:
    """Return the agreement after one more transcript of the same utterance, longer than the one before.

    Committed words stay as they are. A transcript that reads them differently counts from as many words on.
    """
    words = transcript.split()
    if not words:
        return agreement
    rest = words[_overlap(agreement.committed, words) :]
    agreed = [
        new
        for new, _ in takewhile(
            lambda pair: bare(pair[0]) == bare(pair[1]), zip(rest, agreement.tentative, strict=False)
        )
    ]
    return Agreement((*agreement.committed, *agreed), tuple(rest[len(agreed) :]))


def _overlap(committed: Sequence[str], words: Sequence[str]) -> int:
    """Return how many words of a transcript stand for the committed ones.

    Where the transcript reads them with a word more or less, the last committed words are looked for nearby.
    """
    count = len(committed)
    if not count:
        return 0
    last = [bare(word) for word in committed[-2:]]
    for shift in sorted(range(-_LOOKED_AHEAD, _LOOKED_AHEAD + 1), key=abs):
        end = count + shift
        if len(last) <= end <= len(words) and [bare(word) for word in words[end - len(last) : end]] == last:
            return end
    return min(count, len(words))
