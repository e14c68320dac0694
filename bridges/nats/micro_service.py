"""Hearth as a NATS micro service, so that the NATS tools list it: `nats micro ls`, `info`, `stats`.

The answers are made from the types of `nats.micro`. Its own endpoints are not used: they time the subscription's
callback, which here only enqueues, while these statistics time a request until its final answer.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.service import (
    EndpointInfo,
    EndpointStats,
    ServiceInfo,
    ServicePing,
    ServiceStats,
    ServiceVerb,
)

from bridges.nats.trust import STRICT, Trust
from bridges.requests import Request
from bridges.subjects import DISCOVERY, DISCOVERY_BY_ID, DISCOVERY_BY_NAME, subject_for

NAME = "hearth"


@dataclass(slots=True)
class EndpointStatistics:
    """What one endpoint has done since the start."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    processing_ns: int = 0

    def record(self, seconds: float, error: str) -> None:
        """Count one request that took `seconds` and ended with `error`, empty when all went well."""
        self.requests += 1
        self.processing_ns += int(seconds * 1e9)
        if error:
            self.errors += 1
            self.last_error = error


@dataclass(slots=True)
class MicroService:
    """The service's answers to the discovery requests.

    Attributes:
        requests: The endpoints.
        queue_group: Of the endpoints.
    """

    requests: Sequence[Request]
    queue_group: str
    trust: Trust = STRICT
    id: str = field(default_factory=lambda: secrets.token_hex(11))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    statistics: dict[str, EndpointStatistics] = field(default_factory=dict[str, EndpointStatistics])

    def __post_init__(self) -> None:
        for request in self.requests:
            self.statistics[request.name] = EndpointStatistics()

    async def subscribe(self, client: Client) -> list[Subscription]:
        """Answer discovery requests from now on: to all services, to those of this name, to this one."""
        subscriptions: list[Subscription] = []
        bodies = {ServiceVerb.PING: self._ping, ServiceVerb.INFO: self._info, ServiceVerb.STATS: self._stats}
        for verb, body in bodies.items():

            async def answer(message: Msg, body: object = body) -> None:
                if self.trust.allows_reply(message.reply) and callable(body):
                    await message.respond(json.dumps(body()).encode())

            subjects = (
                subject_for(DISCOVERY, verb=verb.value),
                subject_for(DISCOVERY_BY_NAME, verb=verb.value),
                subject_for(DISCOVERY_BY_ID, verb=verb.value, instance=self.id),
            )
            subscriptions.extend([await client.subscribe(subject, cb=answer) for subject in subjects])
        return subscriptions

    def _ping(self) -> dict[str, object]:
        return ServicePing(id=self.id, name=NAME, version=version("hearth")).to_dict()

    def _info(self) -> dict[str, object]:
        endpoints = [
            EndpointInfo(
                name=request.name,
                subject=request.subject.wildcard,
                queue_group=self.queue_group,
                metadata={
                    "request": request.subject.message_type,
                    "response": request.response.DESCRIPTOR.full_name if request.response else "",
                    "method": request.method_name,
                },
            )
            for request in self.requests
        ]
        return ServiceInfo(
            id=self.id,
            name=NAME,
            version=version("hearth"),
            description="Chat, voice, speech and pipelines by one Ray Serve graph",
            endpoints=endpoints,
        ).to_dict()

    def _stats(self) -> dict[str, object]:
        endpoints = [self._endpoint_stats(request) for request in self.requests]
        return ServiceStats(
            id=self.id, name=NAME, version=version("hearth"), started=self.started, endpoints=endpoints
        ).to_dict()

    def _endpoint_stats(self, request: Request) -> EndpointStats:
        statistics = self.statistics[request.name]
        return EndpointStats(
            name=request.name,
            subject=request.subject.wildcard,
            queue_group=self.queue_group,
            num_requests=statistics.requests,
            num_errors=statistics.errors,
            last_error=statistics.last_error,
            processing_time=statistics.processing_ns,
            average_processing_time=statistics.processing_ns // max(statistics.requests, 1),
        )
