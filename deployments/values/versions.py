"""The names of a document's versions, which decide between ingestions that run at the same time.

A name begins with the time at which its ingestion began, so the names of a document's versions stand in the order in
which they began. Of those that are whole, the last one counts. Whoever compares them comes to the same result, without
asking anyone.
"""

import re
import time

_NAME = re.compile(r"t(?P<order>[0-9a-f]{16})(?P<content>[0-9a-f]{15})")
_EARLIER_NAME = re.compile(r"[0-9a-f]{32}")
"""What Hearth called versions before. Such a name sorts before all that begin with "t"."""
_CONTENT_DIGITS = 15


def new_version(content: str, newest: str = "") -> str:
    """Return the name of a version that begins now, 32 characters.

    Args:
        content: Hexadecimal digits, at least 15, that tell one content of a document from another.
        newest: The newest version that there is of the document; the new one sorts behind it. The clock of the machine
            that made it may be ahead of ours.
    """
    known = _NAME.fullmatch(newest)
    order = max(time.time_ns(), int(known["order"], 16) + 1 if known else 0)
    return f"t{order:016x}{content[:_CONTENT_DIGITS]}"


def is_version(name: str) -> bool:
    """Say whether something may be the name of a version."""
    return bool(_NAME.fullmatch(name) or _EARLIER_NAME.fullmatch(name))


def has_same_content(version: str, other: str) -> bool:
    """Say whether two versions of a document are known to be made from the same content."""
    one, another = _NAME.fullmatch(version), _NAME.fullmatch(other)
    return version == other or (one is not None and another is not None and one["content"] == another["content"])
