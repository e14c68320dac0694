"""What Serve is told of the graphs with stand-ins for models can be built, and its replicas can be made."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from ray.serve import Application

from deployments.settings.orchestration import OrchestrationSettings
from tests.benchmarks.stand_in_graph import Side, StandInGraph, nats_accounts, serve_config

GRAPH = StandInGraph(4222, "http://127.0.0.1:8000", "http://127.0.0.1:8265", frozenset(Side))
APPLICATIONS: list[Mapping[str, Any]] = serve_config(GRAPH)["applications"]


def built(application: Mapping[str, Any]) -> Application:
    """Build an application as Serve does."""
    module, _, name = application["import_path"].partition(":")
    build = getattr(importlib.import_module(module), name)
    (parameter,) = inspect.signature(build).parameters.values()
    args = application["args"]
    return build(OrchestrationSettings.model_validate(args) if parameter.annotation is OrchestrationSettings else args)


def bound(application: Application) -> dict[str, tuple[type[Any], tuple[object, ...]]]:
    """Return the deployments of an application: the class of each, and what its replicas are made with."""
    deployment = application._bound_deployment
    replica = cast("type[Any]", deployment.func_or_class)
    found: dict[str, tuple[type[Any], tuple[object, ...]]] = {deployment.name: (replica, deployment.init_args)}
    for argument in deployment.init_args:
        for value in argument.values() if isinstance(argument, dict) else (argument,):
            found |= bound(value) if isinstance(value, Application) else {}
    return found


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one["name"])
def test_the_deployments_are_those_that_serve_is_told_of(application: Mapping[str, Any]):
    told = {deployment["name"] for deployment in application["deployments"]}
    assert bound(built(application)).keys() == told


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one["name"])
def test_every_replica_is_given_what_it_takes(application: Mapping[str, Any]):
    for replica, arguments in bound(built(application)).values():
        inspect.signature(replica).bind(*arguments)


@pytest.mark.parametrize("side", Side)
def test_every_side_has_an_account(side: Side):
    assert f"{side}: {{ users: [ {{ user: {side}, password: {side} }} ] }}" in nats_accounts()
    assert GRAPH.nats_url(side) == f"nats://{side}:{side}@127.0.0.1:4222"


def test_only_what_is_asked_for_is_deployed():
    config = serve_config(replace(GRAPH, sides=frozenset({Side.LIVE})))
    names = [application["name"] for application in config["applications"]]
    assert names == ["timed-models", "live"]
