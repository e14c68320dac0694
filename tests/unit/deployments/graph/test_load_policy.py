"""How many replicas the policy wants, given Serve's own contexts: what it decides by, and what it does not know."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ray import cloudpickle
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AggregationFunction, AutoscalingConfig, AutoscalingContext

from deployments.graph import load_policy
from deployments.graph.load_policy import LoadPolicy, ReplicaLoad

NOW = 1_000_000.0
INGRESS, CHAT = "NatsIngress", "Chat"
CONFIG = AutoscalingConfig(min_replicas=1, max_replicas=10, target_ongoing_requests=8)
LONGEST_S = CONFIG.look_back_period_s + 2 * CONFIG.metrics_interval_s
"""How old the last word of a replica may be."""

State = Mapping[str, Any]
Numbers = Mapping[str, float]


def load(
    in_flight: int = 0, waiting: int | Mapping[str, int] = 0, kept: int = 0, backlog: int | None = None
) -> Numbers:
    """Return what a replica of the ingress reports; where only the number is given, all that waits are chats."""
    by_name = {INGRESS: waiting, CHAT: waiting} if isinstance(waiting, int) else waiting
    kept_for = () if backlog is None and not kept else (INGRESS, CHAT)
    replica = ReplicaLoad(
        in_flight=in_flight,
        waiting=by_name,
        waiting_per_replica=16,
        kept=kept,
        backlog=backlog,
        kept_for=kept_for,
    )
    return replica.statistics()


def context(
    name: str,
    reports: Sequence[Numbers | None] = (),
    *,
    calls: float = 0.0,
    target: int | None = None,
    replicas: int | None = None,
    state: State | None = None,
    at: float = NOW - 1,
    config: AutoscalingConfig = CONFIG,
) -> AutoscalingContext:
    """Return what Serve knows of a deployment.

    Args:
        name: Its own.
        reports: Of its replicas; None for one that has told nothing.
        calls: By handles.
        target: How many replicas there are to be; as many as run if not given.
        replicas: How many run; as many as report if not given.
        state: What the policy remembers.
        at: When the replicas reported.
        config: Its `autoscaling_config`.
    """
    deployment = DeploymentID(name=name, app_name="orchestration")
    running = [ReplicaID(str(number), deployment) for number in range(replicas or len(reports) or 1)]
    metrics: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
    for replica, numbers in zip(running, reports, strict=False):
        for key, value in (numbers or {}).items():
            metrics.setdefault(key, {})[replica] = [TimeStampedValue(timestamp=at, value=value)]
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=name,
        app_name="orchestration",
        current_num_replicas=len(running),
        target_num_replicas=len(running) if target is None else target,
        running_replicas=running,
        total_num_requests=calls,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=metrics,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=10,
        policy_state=dict(state or {}),
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=NOW,
        config=config,
    )


def decide(*contexts: AutoscalingContext) -> dict[str, float]:
    decisions, _ = LoadPolicy()({one.deployment_id: one for one in contexts})
    return {deployment.name: number for deployment, number in decisions.items()}


def remembered(*contexts: AutoscalingContext) -> State:
    """Return what is remembered of the first deployment."""
    _, states = LoadPolicy()({one.deployment_id: one for one in contexts})
    return states[contexts[0].deployment_id]


# What is worked on.


@pytest.mark.parametrize(("calls", "replicas"), [(1, 1), (8, 1), (9, 2), (17, 3)])
def test_a_service_or_model_has_as_many_replicas_as_the_calls_of_its_handles_fill(calls: int, replicas: int) -> None:
    assert decide(context("LanguageModel", calls=calls)) == {"LanguageModel": replicas}


@pytest.mark.parametrize(("in_flight", "replicas"), [((8,), 1), ((9,), 2), ((8, 8), 2), ((12, 8), 3)])
def test_an_ingress_has_as_many_as_the_requests_fill_that_its_replicas_work_on(
    in_flight: tuple[int, ...], replicas: int
) -> None:
    assert decide(context(INGRESS, [load(number) for number in in_flight])) == {INGRESS: replicas}


def test_an_ingress_without_work_keeps_a_replica_that_hears_requests() -> None:
    assert decide(context(INGRESS, [load()])) == {INGRESS: 1}


def test_a_model_without_work_may_have_none() -> None:
    assert decide(context("LanguageModel")) == {"LanguageModel": 0}


# What waits.


@pytest.mark.parametrize(("waiting", "replicas"), [((16,), 1), ((17,), 2), ((40, 40), 5)])
def test_an_ingress_has_a_replica_for_each_so_many_requests_that_wait(waiting: tuple[int, ...], replicas: int) -> None:
    assert decide(context(INGRESS, [load(8, number) for number in waiting])) == {INGRESS: replicas}


def test_a_service_gets_its_replicas_while_its_requests_still_wait_at_the_ingress() -> None:
    assert decide(context(INGRESS, [load(8, 40)]), context(CHAT, calls=8))[CHAT] == 3


def test_a_service_gets_none_for_the_requests_of_another_one() -> None:
    documents = load(2, waiting={INGRESS: 64, CHAT: 0, "Ingestion": 64})
    assert decide(context(INGRESS, [documents]), context(CHAT, calls=2)) == {INGRESS: 4, CHAT: 1}


def test_what_waits_at_several_ingresses_is_added() -> None:
    audio = load(0, waiting={"AudioIngress": 16, "Speech": 16})
    requests = load(0, waiting={INGRESS: 16, "Speech": 16})
    decided = decide(context(INGRESS, [requests]), context("AudioIngress", [audio]), context("Speech"))
    assert decided == {INGRESS: 1, "AudioIngress": 1, "Speech": 2}


# What is kept in streams.


def test_the_backlog_of_the_streams_is_one_number_and_counts_once() -> None:
    reports = [load(8, 0, kept=8, backlog=40)] * 2
    assert decide(context(INGRESS, reports, target=2))[INGRESS] == 2, "24 wait, and not 64"


def test_what_a_replica_holds_of_the_backlog_is_not_counted_again() -> None:
    assert decide(context(INGRESS, [load(8, 8, kept=16, backlog=16)])) == {INGRESS: 1}


def test_what_no_replica_holds_waits_for_the_ingress_and_for_the_service_of_what_is_kept() -> None:
    assert decide(context(INGRESS, [load(backlog=40)]), context(CHAT)) == {INGRESS: 3, CHAT: 3}


def test_of_several_views_of_the_backlog_the_last_one_counts() -> None:
    ingress = context(INGRESS, [load(backlog=160), load(backlog=0)])
    first, _ = ingress.running_replicas
    assert ingress.raw_metrics
    ingress.raw_metrics["hearth_backlog"][first] = [TimeStampedValue(timestamp=NOW - 2, value=160)]
    assert decide(ingress) == {INGRESS: 1}


# What is not known.


def test_a_replica_that_has_told_nothing_yet_takes_no_other_away() -> None:
    assert decide(context(INGRESS, [load(1), None], target=4)) == {INGRESS: 4}


def test_a_replica_that_is_silent_for_long_takes_no_other_away_and_its_last_words_count_no_more() -> None:
    hung = context(INGRESS, [load(80)], target=3, at=NOW - LONGEST_S - 1)
    assert decide(hung) == {INGRESS: 3}


def test_an_ingress_that_has_told_once_is_known_to_be_one() -> None:
    before = remembered(context(INGRESS, [load(8)]))
    silent = context(INGRESS, [None, None], state=before)
    assert decide(silent, context(CHAT, target=3)) == {INGRESS: 2, CHAT: 3}


def test_while_the_backlog_cannot_be_asked_there_are_no_fewer_replicas() -> None:
    unknown = load(1, backlog=None, kept=1)
    assert decide(context(INGRESS, [unknown, unknown]), context(CHAT, target=2)) == {INGRESS: 2, CHAT: 2}


def test_what_is_not_known_keeps_nothing_from_growing() -> None:
    assert decide(context(INGRESS, [load(8, 64), None])) == {INGRESS: 4}


def test_without_a_target_a_deployment_is_as_large_as_what_waits_asks_for_or_as_it_was() -> None:
    config = CONFIG.model_copy(update={"target_ongoing_requests": None})
    assert decide(context("LanguageModel", calls=99, target=2, config=config)) == {"LanguageModel": 2}
    assert decide(context(INGRESS, [load(99, 32)], config=config)) == {INGRESS: 2}


# No flapping.


@pytest.mark.parametrize(("calls", "replicas"), [(16, 3), (13, 3), (12.8, 2), (6.5, 2), (6.4, 1)])
def test_there_are_fewer_replicas_only_where_these_have_room_to_spare(calls: float, replicas: int) -> None:
    assert decide(context(CHAT, calls=calls, target=3)) == {CHAT: replicas}


def test_there_are_as_many_as_were_needed_at_any_time_since_fewer_are() -> None:
    state: State = {}
    decided: list[float] = []
    for calls in (6, 20, 6):
        now = context(CHAT, calls=calls, target=6, state=state)
        decided.append(decide(now)[CHAT])
        state = remembered(now)
    assert decided == [1, 4, 4]


def test_once_there_are_fewer_what_was_needed_before_is_forgotten() -> None:
    state = remembered(context(CHAT, calls=20, target=6))
    assert decide(context(CHAT, calls=6, target=4, state=state)) == {CHAT: 1}


def test_what_is_needed_is_what_was_there_over_the_last_seconds() -> None:
    ingress = context(INGRESS, [load(0)])
    (replica,) = ingress.running_replicas
    assert ingress.raw_metrics
    points = [TimeStampedValue(timestamp=NOW - 3 + at, value=value) for at, value in enumerate((0, 12, 24))]
    ingress.raw_metrics["hearth_in_flight"][replica] = points
    assert decide(ingress) == {INGRESS: 2}
    ingress.config = CONFIG.model_copy(update={"aggregation_function": AggregationFunction.MAX})
    assert decide(ingress) == {INGRESS: 3}


# In Serve's controller.


def test_arguments_that_the_policy_does_not_have_are_named_and_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    LoadPolicy(backlog_s=3)
    assert "policy_kwargs has backlog_s; nothing was expected" in caplog.text


def test_the_controller_needs_no_hearth() -> None:
    cloudpickle.register_pickle_by_value(load_policy)
    carried = cloudpickle.dumps(LoadPolicy)  # pyright: ignore[reportPrivateImportUsage]
    cloudpickle.unregister_pickle_by_value(load_policy)
    program = (
        "import pickle, sys; sys.modules['deployments'] = None\n"
        "policy = pickle.loads(bytes.fromhex(sys.argv[1]))()\n"
        "assert policy({}) == ({}, {})"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program, carried.hex()], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
