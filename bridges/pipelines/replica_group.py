"""The replicas that look after pipeline runs, as each hears the others over NATS."""

import asyncio
import logging

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import pipelines_pb2
from bridges.nats.connection import Connection
from bridges.nats.ownership import SessionOwners
from bridges.operations.clock import now
from bridges.subjects import PIPELINE_REPLICAS, subject_for

logger = logging.getLogger(__name__)

_ACQUAINTANCE_S = 1.5
"""What a new replica waits for the others to be heard: longer than it takes any of them to say that it is there."""


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
            await asyncio.wait([self._beating])
        await self._say(leaving=True)

    async def _beat(self) -> None:
        while True:
            await self._say()
            await asyncio.sleep(self._others.heartbeat_s)
            if lost := self._others.forget_lost(now()):
                logger.warning("not heard any more: %s; their runs are taken up", ", ".join(lost))
                self._changed.set()

    async def _say(self, *, leaving: bool = False) -> None:
        """Say that this replica is there. A failure is logged: the next heartbeat may come through."""
        if self._connection is None:
            return
        beat = pipelines_pb2.PipelineReplica(replica=self.name, leaving=leaving)
        try:
            await self._connection.publish(subject_for(PIPELINE_REPLICAS), beat.SerializeToString())
        except Exception:
            # Of whatever kind: a replica that falls silent loses its runs to others while it still works on them.
            logger.exception("the other replicas could not be told of this one")

    async def _heard(self, message: Msg) -> None:
        try:
            beat = pipelines_pb2.PipelineReplica.FromString(message.data)
        except DecodeError:
            logger.warning("a message on %s is none of a replica", message.subject)
            return
        if beat.leaving and beat.replica != self.name:
            self._others.left(beat.replica)
            self._changed.set()
        elif self._others.heard(beat.replica, now()):
            await self._say()
