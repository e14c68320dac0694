"""What each role may publish and subscribe, as a NATS server takes it: made from the table of subjects."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from bridges.subjects import SUBJECTS, Role, Subject
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import OrchestrationSettings

_ORCHESTRATION = "bridges.application:orchestration"


@dataclass(frozen=True, slots=True)
class User:
    """A user of a NATS server, for one part or several that share a connection's settings.

    Attributes:
        name: Of the user.
        roles: What connects as this user.
        about: A few words for readers.
    """

    name: str
    roles: tuple[Role, ...]
    about: str

    @property
    def password_variable(self) -> str:
        """The variable that the server reads the password from."""
        return f"{self.name.upper()}_PASSWORD"


USERS = (
    User("hearth", (Role.NATS_INGRESS, Role.AUDIO_INGRESS, Role.PIPELINES), "the graph: both ingresses and Pipelines"),
    User("clients", (Role.CLIENT,), "programs that ask, and the hearth command"),
    User("operator", (Role.OPERATOR,), "whoever looks after the installation, with the nats command"),
)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one role may do; anything else is to be denied.

    Attributes:
        publish: Subjects, with NATS wildcards, sorted.
        subscribe: The same for subscribing.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(role: Role, names: Mapping[str, str]) -> Permissions:
    """Return what a role needs, inboxes included.

    A client that names a `response_subject` of its own choice needs a permission for it, and so does the ingress.

    Args:
        role: Whose permissions.
        names: Tokens of subjects that are known, by name. The names of an installation's buckets and stream have to be
            among them (see `installation_names`); an empty one is not used, nor is any subject that has it. Others
            narrow the permissions: with a `user_id`, a client may speak for that user only.
    """
    used = [row for row in SUBJECTS if all(names.get(name, name) for name in (*row.tokens, row.needs or "any"))]
    return Permissions(
        _wildcards((row for row in used if role in row.publishers), names),
        _wildcards((row for row in used if role in row.subscribers), names),
    )


def installation_names(settings: OrchestrationSettings) -> dict[str, str]:
    """Return what an installation calls the buckets and the stream that it keeps things in, by token."""
    durable = settings.nats.durable
    return {
        "conversations_bucket": settings.memory.bucket if settings.memory.enabled else "",
        "runs_bucket": settings.pipelines.bucket,
        "triggers_stream": settings.pipelines.stream,
        "requests_stream": durable.stream if durable.rows else "",
        "answers_bucket": durable.bucket if durable.rows else "",
        "dead_stream": durable.dead_letters if durable.rows else "",
    }


def names_of(config: Path) -> dict[str, str]:
    """Return the same for a file that `serve deploy` takes.

    Raises:
        InvalidRequestError: It has no orchestration application.
        pydantic.ValidationError: A setting in it is wrong.
    """
    found = yaml.safe_load(config.read_text(encoding="utf-8"))
    applications = cast("list[dict[str, Any]]", found.get("applications", []) if isinstance(found, dict) else [])
    for application in applications:
        if application.get("import_path") == _ORCHESTRATION:
            return installation_names(OrchestrationSettings.model_validate(application.get("args") or {}))
    raise InvalidRequestError(f"{config} has no application with the import_path {_ORCHESTRATION}", field="config")


def user_permissions(user: User, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what a user may do, as the server's configuration has it. Everything else is denied."""
    each = [permissions(role, names) for role in user.roles]
    return {
        "publish": {"allow": sorted({subject for one in each for subject in one.publish})},
        "subscribe": {"allow": sorted({subject for one in each for subject in one.subscribe})},
    }


def server_configuration(names: Mapping[str, str]) -> str:
    """Return the part of a NATS server's configuration that says who may do what.

    Args:
        names: As for `permissions`.
    """
    return "\n".join(("authorization {", "  users = [", *(_user_block(user, names) for user in USERS), "  ]", "}", ""))


def jwt_claims(names: Mapping[str, str]) -> dict[str, Any]:
    """Return the same by user, as the claims of a user's JWT have it: what stands under "nats" there."""
    claims: dict[str, Any] = {}
    for user in USERS:
        may = user_permissions(user, names)
        claims[user.name] = {"type": "user", "version": 2, "pub": may["publish"], "sub": may["subscribe"]}
    return claims


def chart_values(names: Mapping[str, str]) -> str:
    """Return the values of NATS's Helm chart that say who may do what, with passwords out of a Secret."""
    env = {
        user.password_variable: {"valueFrom": {"secretKeyRef": {"name": "hearth-nats", "key": user.name}}}
        for user in USERS
    }
    users = [
        {
            "user": user.name,
            "password": f"<< ${user.password_variable} >>",
            "permissions": user_permissions(user, names),
        }
        for user in USERS
    ]
    values = {"container": {"env": env}, "config": {"merge": {"authorization": {"users": users}}}}
    return _CHART_HEAD + yaml.safe_dump(values, sort_keys=False, width=120)


_CHART_HEAD = """\
# Made from the table of subjects: change bridges/permissions.py, then run `uv run python -m bridges.generate`.
#
# With this as well, who connects to NATS needs a password, and may do what its user needs and nothing else. The names
# of buckets and of the stream are those of serve_config.yaml. If yours differ, use the output of
# `hearth permissions nats --chart --config FILE` instead. The passwords are in a Secret:
#
#   kubectl create secret generic hearth-nats -n ai-ml \\
#     --from-literal=hearth=… --from-literal=clients=… --from-literal=operator=…
#   helm upgrade --install nats nats/nats -n ai-ml -f kuberay/charts/nats.yaml -f kuberay/charts/nats-users.yaml
#
# Hearth's own goes into the Secret hearth-secrets: NATS_USER=hearth and NATS_PASSWORD.
"""


def _user_block(user: User, names: Mapping[str, str]) -> str:
    may = user_permissions(user, names)
    lines = [f"    # {user.about}", f'    {{ user: "{user.name}", password: ${user.password_variable}, permissions: {{']
    for verb, subjects in may.items():
        lines += [f"      {verb}: {{ allow: ["]
        lines += [f"        {json.dumps(subject)}" for subject in subjects["allow"]]
        lines += ["      ] }"]
    return "\n".join((*lines, "    } }"))


def _wildcards(rows: Iterable[Subject], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({row.narrowed(**names) for row in rows}))
