"""The values that come from the environment, and go over those of `serve_config.yaml`."""

from collections.abc import Mapping
from typing import Any, cast

_MILVUS_PORT = "19530"
_FILE_VARIABLES = {"credentials_file": "NATS_CREDS", "nkey_file": "NATS_NKEY"}
_TLS_VARIABLES = {"ca_file": "NATS_CA", "certificate_file": "NATS_CERT", "key_file": "NATS_KEY"}
"""By the setting: the variable that the `nats` command reads, too."""


def with_environment(given: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return orchestration arguments with the environment's values over them.

    Raises:
        ValueError: Something else stands where settings by their names were expected.
    """
    nats = _section(given, "nats")
    milvus = _section(given, "milvus")
    if url := environment.get("NATS_URL"):
        nats["url"] = url
    if access := _access_with_environment(_section(nats, "nats", "access"), environment):
        nats["access"] = access
    if host := environment.get("MILVUS_HOST"):
        milvus["uri"] = milvus_uri(host, environment.get("MILVUS_PORT", ""))
    if collection := environment.get("COLLECTION_NAME"):
        milvus["collection"] = collection
    health = _section(given, "health")
    if health_host := environment.get("HEARTH_HEALTH_HOST"):
        health["host"] = health_host
    turns = _section(given, "turns")
    if file := environment.get("HEARTH_TURNS"):
        turns["file"] = file
    pipelines = _pipelines_with_environment(_section(given, "pipelines"), environment)
    return {**given, "nats": nats, "milvus": milvus, "health": health, "turns": turns, "pipelines": pipelines}


def _section(given: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """Return the settings under the last name of a path; it may be left out or empty."""
    found: object = given.get(path[-1]) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{'.'.join(path)}: settings by their names were expected")  # noqa: TRY004 - as pydantic has it
    return {**cast("dict[str, Any]", found)}


def _access_with_environment(access: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return who connects to NATS: who the environment says it is takes the place of who was given."""
    identity = _identity(environment)
    if identity:
        access = {**identity, "tls": _section(access, "nats", "access", "tls")}
    tls = {name: value for name, variable in _TLS_VARIABLES.items() if (value := environment.get(variable))}
    return {**access, "tls": {**_section(access, "nats", "access", "tls"), **tls}} if tls else access


def _identity(environment: Mapping[str, str]) -> dict[str, str]:
    identity = {name: value for name, variable in _FILE_VARIABLES.items() if (value := environment.get(variable))}
    if user := environment.get("NATS_USER"):
        identity |= {"user": user, "password_variable": "NATS_PASSWORD"}
    if environment.get("NATS_TOKEN"):
        identity["token_variable"] = "NATS_TOKEN"  # noqa: S105 - the name of a variable
    return identity


def _pipelines_with_environment(pipelines: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    argo: dict[str, Any] = {"kind": "argo-server", **_section(pipelines, "pipelines", "argo")}
    kubeflow = _section(pipelines, "pipelines", "kubeflow")
    # The Kubernetes API is no Argo Server.
    if (argo_host := environment.get("ARGO_HOST")) and argo["kind"] == "argo-server":
        argo["url"] = engine_url(argo_host)
    if namespace := environment.get("ARGO_NAMESPACE"):
        argo["namespace"] = namespace
    if kubeflow_host := environment.get("KUBEFLOW_HOST"):
        kubeflow["url"] = engine_url(kubeflow_host)
    return {**pipelines, "argo": argo, "kubeflow": kubeflow}


def milvus_uri(host: str, port: str = "") -> str:
    """Return the URI of a Milvus server from a host, a host:port or a URI.

    >>> milvus_uri("milvus.ai-ml.svc.cluster.local")
    'http://milvus.ai-ml.svc.cluster.local:19530'
    """
    if "://" in host:
        return host
    if ":" in host:
        return f"http://{host}"
    return f"http://{host}:{port or _MILVUS_PORT}"


def engine_url(host: str) -> str:
    """Return the URL of a workflow engine from a host:port or a URL.

    >>> engine_url("argo-server.argo.svc.cluster.local:2746")
    'http://argo-server.argo.svc.cluster.local:2746'
    """
    return host if "://" in host else f"http://{host}"
