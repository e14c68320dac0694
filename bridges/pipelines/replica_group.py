"""The replicas that look after pipeline runs, as each hears the others over NATS."""

import asyncio
import logging
from typing import Any, Protocol

from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import pipelines_pb2
from bridges.nats.ownership import SessionOwners
from bridges.subjects import PIPELINE_REPLICAS, subject_for

logger = logging.getLogger(__name__)

_BEAT_S = 1.0
_ACQUAINTANCE_S = 1.5
"""What a new replica waits for the others to be heard: longer than it takes any of them to say that it is there."""


class Connection(Protocol):
    """The part of a NATS connection that replicas need to hear each other."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message."""
        ...

    async def subscribe(self, subject: str, *, cb: Any) -> Any:
        """Have `cb` called with each message."""
        ...


class PipelineReplicas:
    """This replica and the others; see `ReplicaGroup`.

    Args:
        name: This one's.
    """

    def __init__(self, name: str) -> None:
        self._others = SessionOwners(name)
        self._changed = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._connection: Connection | None = None

    @property
    def name(self) -> str:
        """See `ReplicaGroup.name`."""
        return self._others.replica

    @property
    def changed(self) -> asyncio.Event:
        """See `ReplicaGroup.changed`."""
        return self._changed

    async def connect(self, connection: Connection) -> None:
        """Hear the others over a connection from now on."""
        self._connection = connection
        await connection.subscribe(PIPELINE_REPLICAS.wildcard, cb=self._heard)

    def is_alive(self, name: str) -> bool:
        """See `ReplicaGroup.is_alive`."""
        return name == self.name or name in self._others.others

    async def join(self) -> None:
        """See `ReplicaGroup.join`."""
        self._beating = asyncio.create_task(self._beat())
        await asyncio.sleep(_ACQUAINTANCE_S)

    async def leave(self) -> None:
        """See `ReplicaGroup.leave`."""
        if self._beating is not None:
            self._beating.cancel()
        await self._say(leaving=True)

    async def _beat(self) -> None:
        while True:
            await self._say()
            await asyncio.sleep(_BEAT_S)
            if lost := self._others.forget_lost(asyncio.get_running_loop().time()):
                logger.warning("not heard any more: %s; their runs are taken up", ", ".join(lost))
                self._changed.set()

    async def _say(self, *, leaving: bool = False) -> None:
        if self._connection is None:
            return
        beat = pipelines_pb2.PipelineReplica(replica=self.name, leaving=leaving)
        await self._connection.publish(subject_for(PIPELINE_REPLICAS), beat.SerializeToString())

    async def _heard(self, message: Msg) -> None:
        beat = pipelines_pb2.PipelineReplica.FromString(message.data)
        if beat.replica == self.name:
            return
        if beat.leaving:
            self._others.left(beat.replica)
            self._changed.set()
        elif self._others.heard(beat.replica, (), asyncio.get_running_loop().time()):
            await self._say()
