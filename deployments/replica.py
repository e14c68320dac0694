"""What every replica does first: send its log where people look for it, and its spans where they are collected."""

import logging
import os

from deployments.tracing import start_tracing

_SERVE_LOGGER = "ray.serve"
_OURS = ("bridges", "deployments")


def prepare_replica(name: str) -> None:
    """Join Serve's log and start tracing. To be called before a replica does anything else.

    Args:
        name: The deployment.
    """
    _join_serve_log()
    start_tracing(name, os.environ)


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
