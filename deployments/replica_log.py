"""Where a replica's log goes: to the file that Serve keeps of it and the Ray dashboard shows."""

import logging

_SERVE_LOGGER = "ray.serve"
_OURS = ("bridges", "deployments")


def join_serve_log() -> None:
    """Write what Hearth's modules log where Serve writes, at Serve's level.

    To be called in a replica, before there is something to log. Serve sets up its own logger alone: anything below a
    warning from another one is lost, and its warnings end in the worker's standard error.
    """
    serve_logger = logging.getLogger(_SERVE_LOGGER)
    for name in _OURS:
        ours = logging.getLogger(name)
        ours.setLevel(serve_logger.level)
        ours.handlers = serve_logger.handlers
        ours.propagate = False
