"""Start-up of the Python processes that `hearth up` makes Ray run: two things make them lighter.

Python imports a module of this name by itself when its folder is on PYTHONPATH.

Workers are forks of one process: see `worker_forks`. And pandas is there for pymilvus
alone: Ray Serve imports it wherever it is installed, to encode data frames in HTTP answers. Here it is installed only
because pymilvus needs it, and a graph that answers over NATS has no data frames. Importing it takes longer than the
rest of a replica's imports together and 40 MB in each process, so it is hidden from whoever asks before pymilvus does.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _OnlyForPymilvus(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == "pandas" and "pymilvus" not in sys.modules:
            raise ModuleNotFoundError("pandas is hidden from processes without pymilvus", name=fullname)
        return None


sys.meta_path.insert(0, _OnlyForPymilvus())

# Asked here, too: every Python process that Ray starts comes by, and few of them are workers.
if os.environ.get("HEARTH_FORK_WORKERS") == "1" and "--runtime-env-hash=0" in sys.orig_argv:
    from bridges.command_line.local.worker_forks import fork_instead, worker_start

    if start := worker_start(sys.orig_argv):
        fork_instead(start)
