"""Files that hold what llama.cpp has read of a prompt's prefix, so that the next start need not read it again."""

import hashlib
import logging
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from deployments.models.hashing import sha256_of

logger = logging.getLogger(__name__)

_KEPT = 4
_ENDING = ".slot"
_UNFINISHED = ".part"
_ABANDONED_S = 3600.0


@dataclass(frozen=True, slots=True)
class PrefixFiles:
    """A folder of slot states that only this user can read: a prefix may hold an operator's system prompt.

    A file's name says which prefix it holds, and the SHA-256 of its content: llama.cpp does not notice a damaged one.

    Attributes:
        folder: Where they lie.
    """

    folder: Path

    @classmethod
    def opened(cls, folder: Path) -> "PrefixFiles | None":
        """Return the files of a folder, which is made if need be; None, and a line in the log, if it cannot be used."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            _remove_unfinished(folder)
        except OSError as error:
            logger.warning("the prompt prefix is read at each start: %s cannot be used: %s", folder, error.strerror)
            return None
        return cls(folder)

    def find(self, prefix: str) -> str | None:
        """Return the name of an undamaged file; damaged ones are removed.

        Args:
            prefix: All that the state depends on.

        Raises:
            OSError: The folder or a file in it cannot be read.
        """
        for path in self.folder.glob(f"{_key(prefix)}.*{_ENDING}"):
            if sha256_of(path) == path.name.split(".")[1]:
                # The oldest are removed, and one that is in use is not old.
                os.utime(path)
                return path.name
            logger.warning("the prompt prefix in %s is damaged; it is read again", path)
            path.unlink(missing_ok=True)
        return None

    def new_name(self) -> str:
        """Return the name of a file that is yet to be written, for `keep`."""
        return f"{secrets.token_hex(8)}{_UNFINISHED}"

    def keep(self, written: str, prefix: str) -> Path:
        """Give a file that was written its name, and remove the oldest files beyond four.

        Args:
            written: Its name so far.
            prefix: As in `find`.

        Raises:
            OSError: The folder cannot be written.
        """
        path = self.folder / written
        path.chmod(0o600)
        kept = path.rename(self.folder / f"{_key(prefix)}.{sha256_of(path)}{_ENDING}")
        newest_first = sorted(self.folder.glob(f"*{_ENDING}"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for old in newest_first[_KEPT:]:
            old.unlink(missing_ok=True)
        return kept


def _remove_unfinished(folder: Path) -> None:
    """Remove what was written and never kept, as on a full disk."""
    for unfinished in folder.glob(f"*{_UNFINISHED}"):
        if unfinished.stat().st_mtime < time.time() - _ABANDONED_S:
            unfinished.unlink(missing_ok=True)


def _key(prefix: str) -> str:
    return hashlib.sha256(prefix.encode()).hexdigest()[:32]
