"""What the ingresses as deployments tell Serve of themselves."""

from bridges.application import replica_load
from bridges.nats.ingress import OpenRequests
from bridges.subjects import Role
from deployments.graph.load_policy import ReplicaLoad
from deployments.settings.orchestration import ScalingSettings

SCALING = ScalingSettings(waiting_per_replica=5)


def test_what_waits_in_an_ingress_is_for_itself_and_for_the_services_behind_it() -> None:
    requests = OpenRequests(in_flight=3, waiting={"Chat": 4, "Ingestion": 2})
    assert replica_load(Role.NATS_INGRESS, requests, SCALING) == ReplicaLoad(
        in_flight=3, waiting={"NatsIngress": 6, "Chat": 4, "Ingestion": 2}, waiting_per_replica=5
    )


def test_kept_requests_are_for_the_ingress_too() -> None:
    requests = OpenRequests(in_flight=1, waiting={}, kept=1, backlog=9, kept_for=frozenset({"Voice", "Chat"}))
    load = replica_load(Role.NATS_INGRESS, requests, SCALING)
    assert (load.kept, load.backlog, load.kept_for) == (1, 9, ("NatsIngress", "Chat", "Voice"))


def test_live_sessions_are_worked_on() -> None:
    requests = OpenRequests(in_flight=1, waiting={"Speech": 0})
    assert replica_load(Role.AUDIO_INGRESS, requests, SCALING, sessions=7).in_flight == 8
