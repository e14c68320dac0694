"""One session's messages that come by two ways for a while, taken once each and in order."""

from collections import deque

_COMPARED = 64


class Splice:
    """Goes from an old way to a new one, which carries the same messages from some point on.

    Both ways keep the order of the messages, and either may be ahead. Messages have no numbers. So the old way is
    taken until both have brought the same last messages and then nothing for a moment: whatever comes next by the new
    way is the next message.
    """

    __slots__ = ("_new", "_old", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        """Whether the new way is taken."""
        self._old: deque[int] = deque(maxlen=_COMPARED)
        self._new: deque[int] = deque(maxlen=_COMPARED)

    def old(self, payload: bytes) -> bool:
        """Note what came by the old way; return whether it is to be taken."""
        if not self.is_done:
            self._old.append(hash(payload))
        return not self.is_done

    def new(self, payload: bytes) -> bool:
        """Note what came by the new way; return whether it is to be taken."""
        if not self.is_done:
            self._new.append(hash(payload))
        return self.is_done

    def rest(self) -> bool:
        """Learn that nothing came for a moment; return whether this was when the new way began to be taken."""
        count = len(self._new)
        if self.is_done or not count or count > len(self._old) or list(self._old)[-count:] != list(self._new):
            return False
        self.finish()
        return True

    def finish(self) -> None:
        """Take the new way from now on: the old one has ended, or has brought nothing since there is the new one."""
        self.is_done = True
        self._old.clear()
        self._new.clear()
