"""What every replica does first: its log, its spans, its garbage collector."""

import gc
import logging
import logging.config
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from deployments.graph.tracing import start_tracing

_SERVE_LOGGER = "ray.serve"
_OURS = ("bridges", "deployments")
_COLLECT_AFTER = 20_000
"""Objects, in place of 700: a call between deployments makes some hundreds, few of them in cycles, so that the
collector ran several times for each request and took 4 % of a replica's time."""


def prepare_replica(name: str) -> None:
    """Join Serve's log, start tracing, collect garbage less often. To be called before a replica does anything else.

    Args:
        name: The deployment.
    """
    _join_serve_log()
    start_tracing(name, os.environ)
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


@contextmanager
def log_left_alone() -> Generator[None]:
    """Let nothing that is imported in the block set up logging anew.

    pymilvus does, and that closes every handler of the process, Serve's log file among them.
    """
    configure = logging.config.dictConfig
    logging.config.dictConfig = _left_alone
    try:
        yield
    finally:
        logging.config.dictConfig = configure


def _left_alone(config: dict[str, Any]) -> None:
    del config


def _join_serve_log() -> None:
    """Write what Hearth's modules log where Serve writes, at Serve's level.

    Serve sets up its own logger alone, whose file the Ray dashboard shows: anything below a warning from another
    logger is lost, and its warnings end in the worker's standard error.
    """
    serve_logger = logging.getLogger(_SERVE_LOGGER)
    for name in _OURS:
        ours = logging.getLogger(name)
        ours.setLevel(serve_logger.level)
        ours.handlers = serve_logger.handlers
        ours.propagate = False
