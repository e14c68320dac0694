"""How many replicas a deployment needs: by what is worked on, and by what waits in front of its application.

Serve counts the calls that its handles make. An ingress gets none: it takes its requests from NATS itself. So each of
its replicas reports what it has, as `ReplicaLoad.statistics`, and `LoadPolicy` decides by both.

Serve's controller runs the policy ten times a second, and on a head that may have no Hearth. Serve carries this module
there by value, so it imports nothing of ours, and nothing that takes long.
"""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

D = TypeVar("D", bound=Hashable)

_IN_FLIGHT = "hearth_in_flight"
_WAITING = "hearth_waiting:"
_WAITING_PER_REPLICA = "hearth_waiting_per_replica"
_KEPT = "hearth_kept"
_BACKLOG = "hearth_backlog"
_KEPT_FOR = "hearth_kept_for:"

_FULL = 0.8
"""How full fewer replicas may be, at most. Were they full, the next request would ask for the old number again."""
_IS_INGRESS = "hearth_is_ingress"
_HIGHEST = "hearth_highest"
_HIGHEST_BELOW = "hearth_highest_below"
_AGGREGATIONS: Mapping[str, Callable[[Iterable[float]], float]] = {"mean": fmean, "max": max, "min": min}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """What one replica of an ingress has to do.

    Attributes:
        in_flight: Requests that it works on, or live sessions.
        waiting: Requests that wait in it for their turn, by the name of the deployment that they are for. Those of the
            ingress itself are all of them.
        waiting_per_replica: How many may wait for each replica of a deployment.
        kept: Requests that it has taken from a stream, whether they wait or not.
        backlog: Requests that are in the streams and not answered, at whatever replica, or at none; None where that is
            not known now. All replicas see the same number.
        kept_for: The deployments that kept requests are for; none where nothing is kept.
    """

    in_flight: int
    waiting: Mapping[str, int]
    waiting_per_replica: int
    kept: int = 0
    backlog: int | None = None
    kept_for: Sequence[str] = ()

    def statistics(self) -> dict[str, float]:
        """Return it as Serve carries it to the policy: numbers by name."""
        numbers: dict[str, float] = {_IN_FLIGHT: self.in_flight, _WAITING_PER_REPLICA: self.waiting_per_replica}
        numbers |= {f"{_WAITING}{name}": number for name, number in self.waiting.items()}
        if self.kept_for:
            numbers |= {_KEPT: self.kept} | {f"{_KEPT_FOR}{name}": 1 for name in self.kept_for}
        if self.backlog is not None:
            numbers[_BACKLOG] = self.backlog
        return numbers


@dataclass(frozen=True, slots=True)
class _Told:
    """What the replicas of one ingress tell together.

    Attributes:
        in_flight: Requests that they work on.
        waiting: How many replicas what waits would fill, by the deployment that it is for.
        is_whole: Whether each replica that runs has told of itself, and lately.
    """

    in_flight: float
    waiting: Mapping[str, float]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What one replica tells, by the names of its numbers: what they were of late, and when each was told last."""

    values: Mapping[str, float]
    told_at: Mapping[str, float]


_NOTHING_TOLD = _Told(0.0, {}, is_whole=True)


class LoadPolicy:
    """Serve's `autoscaling_policy` of an application of ours: decides for all deployments with `autoscaling_config`.

    A deployment has as many replicas as it takes for each to work on `target_ongoing_requests` at most, and to have
    `scaling.waiting_per_replica` of the orchestration's settings waiting for it at most. Serve adds `min_replicas`,
    `max_replicas` and the delays. There are fewer replicas only where these have room to spare, as many as were needed
    at any time of `downscale_delay_s`, and not as long as a replica does not tell what it has.

    Args:
        unknown: Serve's `policy_kwargs`. There are none, for an error here would be nowhere but in the log of Serve's
            controller, and the application would go on without a policy. What an ingress lets wait is its setting.
    """

    def __init__(self, **unknown: object) -> None:
        if unknown:
            logging.getLogger("ray.serve").error(
                "autoscaling_policy.policy_kwargs has %s; nothing was expected there. `scaling` of the orchestration's "
                "args has the settings",
                ", ".join(sorted(unknown)),
            )

    def __call__(self, contexts: Mapping[D, "AutoscalingContext"]) -> tuple[dict[D, float], dict[D, dict[str, Any]]]:
        """Return how many replicas each deployment is to have, and what to remember of it until the next time."""
        told = {one: _told(context) for one, context in contexts.items()}
        ingresses = {one for one, context in contexts.items() if told[one] or context.policy_state.get(_IS_INGRESS)}
        # An ingress of which nothing is known may be full of requests for the others.
        is_known = all((its := told[one]) is not None and its.is_whole for one in ingresses)
        waiting = _sum(its.waiting for its in told.values() if its)
        decisions: dict[D, float] = {}
        states: dict[D, dict[str, Any]] = {}
        for one, context in contexts.items():
            needed = _needed(context, told[one] or _NOTHING_TOLD, waiting.get(context.deployment_name))
            # Without a replica of an ingress nobody would hear that there are requests.
            wanted = max(_wanted(context, needed, is_known=is_known), int(one in ingresses))
            decisions[one], states[one] = _slowly(context, wanted)
            states[one][_IS_INGRESS] = one in ingresses
        return decisions, states


def _needed(context: "AutoscalingContext", told: _Told, waiting: float | None) -> float:
    """Return how many replicas the load of a deployment would fill."""
    target = context.config.target_ongoing_requests if context.config else None
    ongoing = (context.total_num_requests + told.in_flight) / target if target else None
    return max((share for share in (ongoing, waiting) if share is not None), default=context.target_num_replicas)


def _wanted(context: "AutoscalingContext", needed: float, *, is_known: bool) -> int:
    """Return how many replicas there should be: the present ones where fewer would be full."""
    target, enough = context.target_num_replicas, _whole(needed)
    if enough >= target:
        return enough
    return min(target, _whole(needed / _FULL)) if is_known else target


def _slowly(context: "AutoscalingContext", wanted: int) -> tuple[int, dict[str, Any]]:
    """Return how many replicas there are to be, no fewer than were wanted since fewer are, and what to remember."""
    target, state = context.target_num_replicas, context.policy_state
    if wanted >= target:
        return wanted, {}
    before = state.get(_HIGHEST, 0) if state.get(_HIGHEST_BELOW) == target else 0
    highest = max(wanted, before)
    return highest, {_HIGHEST: highest, _HIGHEST_BELOW: target}


def _told(context: "AutoscalingContext") -> _Told | None:
    """Join what the replicas of a deployment tell; None where none does, as of all that are no ingress."""
    told = context.raw_metrics or {}
    if not any(told.get(_IN_FLIGHT, {}).get(replica) for replica in context.running_replicas):
        return None
    lately = [numbers for replica in context.running_replicas if (numbers := _lately(context, told, replica))]
    in_all = _sum(numbers.values for numbers in lately)
    kept_for = [name.removeprefix(_KEPT_FOR) for name in in_all if name.startswith(_KEPT_FOR)]
    # All replicas see the same backlog, so it counts once: as the last of them saw it.
    backlogs = [
        (numbers.told_at[_BACKLOG], numbers.values[_BACKLOG]) for numbers in lately if _BACKLOG in numbers.values
    ]
    _, backlog = max(backlogs, default=(0.0, 0.0))
    # What no replica has, or one that is gone.
    unheld = max(0.0, backlog - in_all.get(_KEPT, 0.0))
    own = {name.removeprefix(_WAITING): number for name, number in in_all.items() if name.startswith(_WAITING)}
    each = min((numbers.values[_WAITING_PER_REPLICA] for numbers in lately), default=math.inf)
    return _Told(
        in_all.get(_IN_FLIGHT, 0.0),
        {name: number / each for name, number in _sum([own, dict.fromkeys(kept_for, unheld)]).items()},
        is_whole=len(lately) == len(context.running_replicas) and bool(backlogs) == bool(kept_for),
    )


def _lately(context: "AutoscalingContext", told: Mapping[str, Mapping[Any, Any]], replica: object) -> _Numbers | None:
    """Return what one replica tells; None where it has not told anything for long."""
    config = context.config
    series = {name: points for name, by_replica in told.items() if (points := by_replica.get(replica))}
    told_at = {name: points[-1].timestamp for name, points in series.items()}
    # Two reports may be missed.
    longest_s = config.look_back_period_s + 2 * config.metrics_interval_s if config else 0.0
    if told_at.get(_IN_FLIGHT, 0.0) < (context.current_time or 0.0) - longest_s:
        return None
    aggregate = _AGGREGATIONS.get(config.aggregation_function if config else "", fmean)
    return _Numbers({name: aggregate([point.value for point in points]) for name, points in series.items()}, told_at)


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add numbers by their names."""
    total: dict[str, float] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0.0) + number
    return total


def _whole(replicas: float) -> int:
    """Round up, and past what is lost in dividing."""
    return math.ceil(replicas - 1e-9)
