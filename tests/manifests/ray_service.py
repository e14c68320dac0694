"""A RayService as its tests read it."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import yaml

Service = dict[str, Any]
Group = dict[str, Any]
Container = dict[str, Any]
Deployment = dict[str, Any]

GROUP_LABEL = "hearth/group"
"""The label by which a deployment names a group of workers."""


def cluster(service: Service) -> dict[str, Any]:
    return service["spec"]["rayClusterConfig"]


def head(service: Service) -> Group:
    return cluster(service)["headGroupSpec"]


def workers(service: Service) -> list[Group]:
    return cluster(service)["workerGroupSpecs"]


def groups(service: Service) -> list[Group]:
    """Return the head's group and those of the workers."""
    return [head(service), *workers(service)]


def pod(group: Group) -> dict[str, Any]:
    return group["template"]["spec"]


def ray_container(group: Group) -> Container:
    """Return the container that KubeRay takes for Ray's: the first (v1.7.0 utils/constant.go:51)."""
    return pod(group)["containers"][0]


def containers(service: Service) -> Iterator[Container]:
    for group in groups(service):
        yield from pod(group)["containers"]


def environment(container: Container) -> dict[str, Any]:
    """Return the values of a container's variables; one that comes from elsewhere, such as a secret, as its source."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def ports(container: Container) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def pre_stop(group: Group) -> list[str]:
    """Return the command that the kubelet runs before it stops a group's Ray container, empty where there is none."""
    return ray_container(group).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])


def option_seconds(command: list[str], option: str) -> float:
    """Return the value of an option of a command, 0 where it is not given."""
    return float(command[command.index(option) + 1]) if option in command else 0


def drain_seconds(group: Group) -> float:
    """Return how long Ray holds a node of a group after SIGTERM (Ray 2.60.0 `_private/ray_constants.py:41`)."""
    return float(environment(ray_container(group)).get("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "30"))


def name_of(group: Group) -> str:
    """Return a group's name; the head's is the operator's (v1.7.0 utils/constant.go:352)."""
    return group.get("groupName", "headgroup")


def serve_config(service: Service) -> dict[str, Any]:
    return _parsed(service["spec"]["serveConfigV2"])


def deployments(service: Service) -> Iterator[Deployment]:
    for application in serve_config(service)["applications"]:
        yield from application["deployments"]


def selected_group(deployment: Deployment) -> str:
    """Return the group that a deployment is to run on, empty where it is any with room."""
    return deployment.get("ray_actor_options", {}).get("label_selector", {}).get(GROUP_LABEL, "")


def runs_ingresses(service: Service, group: Group) -> bool:
    """Say whether a node of a group may hold an ingress. Those need no CPU, so any node has room."""
    ingresses = [entry for entry in deployments(service) if entry["name"] in {"NatsIngress", "AudioIngress"}]
    return any(selected_group(entry) in {"", name_of(group)} for entry in ingresses)


def longest_shutdown(service: Service) -> float:
    """Return how long the slowest replica may take to finish what it has accepted, in seconds (Serve's default: 20)."""
    return max(deployment.get("graceful_shutdown_timeout_s", 20) for deployment in deployments(service))


def is_dns_label(name: str, length: int) -> bool:
    """Say whether a name is a label as RFC 1035 has it, and short enough."""
    return len(name) <= length and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is not None


@functools.cache
def _parsed(config: str) -> dict[str, Any]:
    return yaml.load(config, yaml.CSafeLoader)
