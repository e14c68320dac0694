"""How much of a prompt stays useful if the model read it before its question was whole: functions over texts."""

from collections.abc import Sequence
from itertools import takewhile


def in_read_order(found: Sequence[str], read: Sequence[str]) -> tuple[str, ...]:
    """Return passages in the order that leaves a model the least to read if it has `read` some of them already.

    A model keeps what it has read up to the first difference. So the passages that were read first, and were found
    again, come first. The others follow in their own order.
    """
    kept = tuple(takewhile(lambda passage: passage in found, read))
    return (*kept, *(passage for passage in found if passage not in kept))


def kept_share(shown: Sequence[str], read: Sequence[str]) -> float:
    """Return which share, from 0 to 1, of the passages that were read a prompt with the passages `shown` begins with.

    The share is counted in characters. It is 1 where nothing was read.
    """
    characters = sum(len(passage) for passage in read)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(shown, read, strict=False))
    return sum(len(passage) for passage, _ in same) / characters if characters else 1.0
