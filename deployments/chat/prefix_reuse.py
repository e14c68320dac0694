"""What is kept of a prompt that was read before its question was whole: functions over texts, without a model."""

from collections.abc import Sequence
from itertools import takewhile


def in_read_order(found: Sequence[str], read: Sequence[str]) -> tuple[str, ...]:
    """Return passages in the order in which a model that has `read` some of them has the least left to read.

    A model keeps what it has read up to the first difference, so those that were read first, and were found again, come
    first; the others follow in their own order.
    """
    kept = tuple(takewhile(lambda passage: passage in found, read))
    return (*kept, *(passage for passage in found if passage not in kept))


def kept_share(shown: Sequence[str], read: Sequence[str]) -> float:
    """Return the share, from 0 to 1, of passages that were read that a prompt with the passages `shown` begins with.

    Counted in characters; 1 where nothing was read.
    """
    characters = sum(len(passage) for passage in read)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(shown, read, strict=False))
    return sum(len(passage) for passage, _ in same) / characters if characters else 1.0
