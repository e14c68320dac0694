"""Streams of ours: made where they are missing, and given the present settings where they are there."""

from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError

_OTHER_CONFIGURATION = 10058
"""The server's error code where a stream of this name is there with another configuration."""
_SUBJECTS_OVERLAP = 10065
"""The server's error code where another stream has the subject already."""


async def open_stream(stream: JetStreamContext, config: StreamConfig) -> bool:
    """Make a stream, or give one that is there the present settings, such as another age.

    Returns:
        Whether it is there: not, where another stream has one of its subjects.

    Raises:
        nats.errors.Error: The server does not answer, or refuses it for another reason.
    """
    try:
        await stream.add_stream(config)
    except APIError as error:
        if error.err_code == _SUBJECTS_OVERLAP:
            return False
        if error.err_code != _OTHER_CONFIGURATION:
            raise
        await stream.update_stream(config)
    return True
