"""Whether anybody still listens to a stream, as far as the NATS server can tell."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

_PROBED_EVERY = 8


@dataclass(slots=True)
class Watch:
    """What is known of the listeners of one stream.

    A stream that had a listener and has none any more was left. One that never had any is no sign of that: its client
    may wait for the final response alone.

    Attributes:
        inbox: Under which the server's word on this stream arrives; empty where nothing can be heard.
        left: Whether the last listener has gone.
    """

    inbox: str
    left: bool = False
    _published: int = 0
    _probes: int = 0
    _never_heard: bool = False

    def next_reply(self) -> str:
        """Return the reply subject for the stream's next message: one for the first and every eighth, else none."""
        self._published += 1
        if not self.inbox or self._never_heard or self._published % _PROBED_EVERY != 1:
            return ""
        self._probes += 1
        return f"{self.inbox}.{self._probes}"

    def refused(self, probe: int) -> None:
        """Take the server's word that nobody listened to a message."""
        if probe == 1:
            self._never_heard = True
        elif not self._never_heard:
            self.left = True


class Listeners:
    """Hears from the server that nobody listens.

    A message that is published with a reply subject comes back to it as "503 no responders" within a millisecond when
    its subject has no subscriber, and is answered by nobody when it has. Where a JetStream stream captures the subject,
    the server acknowledges the message instead, and a client that left is not noticed.
    """

    def __init__(self) -> None:
        self._inbox = ""
        self._watches: dict[str, Watch] = {}
        self._tokens = count(1)

    async def subscribe(self, client: Client) -> Subscription:
        """Hear what the server says from now on."""
        self._inbox = client.new_inbox()
        return await client.subscribe(f"{self._inbox}.*.*", cb=self._heard)

    @contextmanager
    def watch(self) -> Generator[Watch]:
        """Watch one stream for as long as the block lasts."""
        token = str(next(self._tokens))
        watch = Watch(f"{self._inbox}.{token}" if self._inbox else "")
        self._watches[token] = watch
        try:
            yield watch
        finally:
            del self._watches[token]

    async def _heard(self, message: Msg) -> None:
        if not message.headers or message.headers.get("Status") != "503":
            return
        _, token, probe = message.subject.rsplit(".", 2)
        if watch := self._watches.get(token):
            watch.refused(int(probe))
