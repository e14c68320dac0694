"""Triggers that their ingress has lost: each one is kept in a stream too, and taken from there if nothing became of it.

An ingress takes a trigger from core NATS, with its reply subject and at once. Should it die with the trigger in its
hands, or be away when it is sent, the copy in the stream is what is left of it.
"""

import contextlib
import logging
from datetime import UTC, datetime
from typing import Protocol

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import APIError

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.allowances import UNLIMITED, Allowances
from bridges.nats.askers import BY_SUBJECT, Asker, Askers
from bridges.nats.demands import Demand, Named, NameKind
from bridges.pipelines.reports import bounded
from bridges.subjects import PIPELINE_STATUS, PIPELINE_TRIGGER, TRIGGERS_CONSUMER, own_subjects
from deployments.backoff import Backoff
from deployments.call import Call
from deployments.errors import HearthError, InternalError, InvalidRequestError, UnavailableError
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineReport, PipelineTrigger, RunStatus, TriggerReceipt

logger = logging.getLogger(__name__)

_GRACE_S = 5.0
"""What an ingress has for a trigger before it is taken for lost. One that takes longer does no harm: the same request
never starts two runs."""
_BATCH = 50
_FETCH_S = 5.0
_ACK_WAIT_S = 10.0
_TRIGGER_S = 5.0
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_NOBODY = Asker("connection", "")
_OTHER_CONFIGURATION = 10058
"""The server's error code where a stream of this name is there with another configuration."""
_SUBJECTS_OVERLAP = 10065
"""The server's error code where another stream has the subject already."""


class Triggers(Protocol):
    """Takes triggers."""

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        """Refuse a trigger, or keep it and start its run."""
        ...


class Runs(Protocol):
    """Knows what became of triggers."""

    async def is_known(self, request_id: str) -> bool:
        """Say whether anything was kept of a request id."""
        ...

    async def refuse(self, report: PipelineReport) -> bool:
        """Keep and tell a refusal."""
        ...


class PipelineIntake:
    """Starts the runs of triggers that their ingress lost.

    Args:
        settings: The stream.
        triggers: Takes them.
        runs: Knows what became of the others.
        allowances: What each user may name.
        askers: Finds out who asks. Of a kept trigger the connection is not known.
    """

    def __init__(
        self,
        settings: PipelinesSettings,
        triggers: Triggers,
        runs: Runs,
        allowances: Allowances = UNLIMITED,
        askers: Askers = BY_SUBJECT,
    ) -> None:
        self._settings = settings
        self._allowances = allowances
        self._askers = askers
        self._triggers = triggers
        self._runs = runs

    async def run(self, client: Client) -> None:
        """Start the runs of lost triggers until cancelled; return if the stream cannot be made."""
        if not self._settings.stream:
            return
        backoff = Backoff(_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            try:
                subscription = await self._opened(client.jetstream())
                if subscription is None:
                    return
                try:
                    while True:
                        await self._take(subscription)
                        backoff.reset()
                finally:
                    # A connection that is closed has none any more; a cancellation has to pass all the same.
                    with contextlib.suppress(nats.errors.Error):
                        await subscription.unsubscribe()
            except (nats.errors.Error, TimeoutError, UnavailableError) as error:
                logger.warning("lost triggers cannot be looked for now: %s", str(error) or type(error).__name__)
            except Exception:
                # Of whatever kind: runs are followed beside this, and go on.
                logger.exception("lost triggers cannot be looked for now")
            await backoff.pause()

    async def _opened(self, stream: JetStreamContext) -> JetStreamContext.PullSubscription | None:
        config = StreamConfig(
            name=self._settings.stream,
            description="Triggers of Hearth's pipelines, until something became of them",
            subjects=[PIPELINE_TRIGGER.wildcard],
            retention=RetentionPolicy.WORK_QUEUE,
            max_age=self._settings.stream_max_age_s,
            # Else the server would answer a requester before Hearth does.
            no_ack=True,
        )
        try:
            await stream.add_stream(config)
        except APIError as error:
            if error.err_code == _OTHER_CONFIGURATION:
                # Made under other settings, such as another age.
                await stream.update_stream(config)
                return await self._subscribed(stream)
            if error.err_code != _SUBJECTS_OVERLAP:
                raise
            logger.warning(
                "a trigger that is lost by its ingress stays lost: another stream than %r has the subject %s",
                self._settings.stream,
                PIPELINE_TRIGGER.pattern,
            )
            return None
        return await self._subscribed(stream)

    async def _subscribed(self, stream: JetStreamContext) -> JetStreamContext.PullSubscription:
        consumer = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_S)
        return await stream.pull_subscribe(
            PIPELINE_TRIGGER.wildcard, durable=TRIGGERS_CONSUMER, stream=self._settings.stream, config=consumer
        )

    async def _take(self, subscription: JetStreamContext.PullSubscription) -> None:
        try:
            messages = await subscription.fetch(_BATCH, timeout=_FETCH_S)
        except TimeoutError:
            # Of nats-py or of asyncio, by whether the server or the client was the first to find nothing there.
            return
        for message in messages:
            waits = _GRACE_S - (datetime.now(UTC) - message.metadata.timestamp).total_seconds()
            if waits > 0:
                await message.nak(delay=waits)
            elif await self._is_settled(message):
                await message.ack()
            else:
                await message.nak(delay=_GRACE_S)

    async def _is_settled(self, message: Msg) -> bool:
        """See that something becomes of a trigger; return False where it has to be tried again."""
        trigger = _decoded(message)
        if trigger is None:
            # Its ingress has answered it, if anybody could; there is nothing to know it by.
            return True
        try:
            if await self._runs.is_known(trigger.request_id):
                return True
            logger.warning("trigger %s was lost by its ingress and is taken up", trigger.request_id)
            if refusal := self._not_allowed(message, trigger):
                await self._runs.refuse(bounded(refusal))
                return True
            receipt = await self._triggers.trigger(Call.within(_TRIGGER_S), trigger)
            if receipt.report and receipt.is_news:
                await self._runs.refuse(bounded(receipt.report))
        except UnavailableError as error:
            logger.warning("trigger %s waits: %s", trigger.request_id, error.message)
            return False
        except Exception:
            # Of whatever kind: another one would fail over it likewise, and so would the next replica.
            logger.exception("trigger %s cannot be taken up", trigger.request_id)
            await self._give_up(trigger)
        return True

    def _not_allowed(self, message: Msg, trigger: PipelineTrigger) -> PipelineReport | None:
        """Return what a trigger is refused with that names what its user may not; None for another one."""
        user = self._askers.header_user(message)
        named = Named(NameKind.PIPELINE, "pipeline", trigger.pipeline)
        try:
            self._allowances.check_names(Asker("user", user) if user else _NOBODY, Demand(names=(named,)))
        except InvalidRequestError as error:
            return PipelineReport(trigger.request_id, RunStatus.ERROR, trigger.pipeline, error=error.message)
        return None

    async def _give_up(self, trigger: PipelineTrigger) -> None:
        """Tell a client that nothing becomes of its trigger, if that can be told."""
        error = InternalError("the trigger could not be taken up").message
        report = PipelineReport(trigger.request_id, RunStatus.ERROR, trigger.pipeline, error=error)
        try:
            await self._runs.refuse(bounded(report))
        except HearthError as failure:
            logger.warning("trigger %s: its client was not told: %s", trigger.request_id, failure.message)


def _decoded(message: Msg) -> PipelineTrigger | None:
    request = messages_pb2.PipelineTrigger()
    try:
        request.ParseFromString(message.data)
    except DecodeError:
        return None
    if not own_subjects((PIPELINE_STATUS,), {"request_id": request.request_id}):
        return None
    return PipelineTrigger(request.request_id, request.pipeline, dict(request.parameters))
