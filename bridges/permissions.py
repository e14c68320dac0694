"""What each role may publish and subscribe, as a NATS server takes it: made from the table of subjects."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bridges.subjects import SENT_AGAIN, SUBJECTS, USER_INBOX, Role, covers, is_token
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import OrchestrationSettings

_NAME = re.compile(r"[\w.*-]+")
_ORCHESTRATION = "bridges.application:orchestration"


_OF_ONE_USER = frozenset({Role.USER, Role.OPERATOR})


@dataclass(frozen=True, slots=True)
class User:
    """A user of a NATS server, for one part or several that share a connection's settings.

    Attributes:
        name: Of the user.
        roles: What connects as this user.
        about: A few words for readers.
        user_id: Whose subjects and inboxes alone it has, of those that name a user; empty for everybody's.
        answers: Subjects that it publishes on besides those of the table.
    """

    name: str
    roles: tuple[Role, ...]
    about: str
    user_id: str = ""
    answers: tuple[str, ...] = ()

    @property
    def password_variable(self) -> str:
        """The variable that the server reads the password from, as a part of its configuration: with quotes."""
        return f"{self._variable}_PASSWORD"

    @property
    def secret_variable(self) -> str:
        """The variable with the password alone, for NATS's Helm chart, which lists variables in alphabetical order.

        Kubernetes sets one variable inside another only where it stands further up.
        """
        return f"{self._variable}_GIVEN"

    @property
    def _variable(self) -> str:
        return re.sub(r"[^A-Z0-9]", "_", self.name.upper())


def inbox_prefix(user_id: str) -> str:
    """Return the inbox prefix that a client of one user, or an operator, has to connect with."""
    return USER_INBOX.inbox_prefix.format(user_id=user_id)


USERS = (
    User("hearth", (Role.NATS_INGRESS, Role.AUDIO_INGRESS, Role.PIPELINES), "the graph: both ingresses and Pipelines"),
    User("clients", (Role.CLIENT,), "programs that ask, and the hearth command"),
    User(
        "operator",
        (Role.OPERATOR,),
        f"whoever looks after the installation; the inbox prefix is {inbox_prefix('operator')}",
        "operator",
    ),
)


def users_for(user_ids: Iterable[str], answer_subjects: Iterable[str] = ()) -> tuple[User, ...]:
    """Return the users of every installation, and one for each user id, who may speak for that one only.

    Args:
        user_ids: Each one a token of a subject.
        answer_subjects: The setting `nats.answer_subjects`: Hearth has to be allowed to answer there.

    Raises:
        InvalidRequestError: An id cannot stand in a subject, or is the name of another user, perhaps in the variable of
            its password alone.
    """
    graph, *others = USERS
    users = [replace(graph, answers=tuple(answer_subjects)), *others]
    for user_id in user_ids:
        if not is_token(user_id):
            raise InvalidRequestError(
                f"the user id {user_id!r} is no token of a subject: no space, dot, '*' or '>'", field="user_id"
            )
        user = User(user_id, (Role.USER,), f"{user_id} alone; the inbox prefix is {inbox_prefix(user_id)}", user_id)
        if user.password_variable in {one.password_variable for one in users}:
            raise InvalidRequestError(f"two users are called {user_id}, or nearly so", field="user_id")
        users.append(user)
    return tuple(users)


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

    A client that names a `response_subject` of its own choice needs a permission for it. What `nats.answer_subjects`
    lists is permitted to Hearth by `users_for`.

    Args:
        role: Whose permissions.
        names: Tokens of subjects that are known, by name. The names of an installation's buckets and stream have to be
            among them (see `installation_names`); an empty one is not used, nor is any subject that has it. Others
            narrow the permissions: a client of one user, and an operator, need a `user_id`.

    Raises:
        ValueError: A name that is needed is not known.
    """
    if role in _OF_ONE_USER and not names.get("user_id"):
        raise ValueError(f"the user_id of {role} is not known")
    used = [row for row in SUBJECTS if all(names.get(name, name) for name in (*row.tokens, row.needs or "any"))]
    publish = {row.narrowed(**names) for row in used if role in row.publishers}
    if role is Role.OPERATOR and names.get("dead_stream"):
        # A dead letter is sent again as whose it was, and not as an operator's.
        publish |= {row.wildcard for row in SENT_AGAIN}
    return Permissions(
        tuple(sorted(publish)),
        tuple(sorted({row.narrowed(**names) for row in used if role in row.subscribers})),
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
        InvalidRequestError: As in `settings_of`.
    """
    return installation_names(settings_of(config))


def settings_of(config: Path) -> OrchestrationSettings:
    """Return the settings of the orchestration in a file that `serve deploy` takes.

    Raises:
        InvalidRequestError: It cannot be read, has no orchestration application, or a setting in it is wrong. The
            message names the file and the place in it, and quotes nothing that may have a password.
    """
    for application in _applications(config):
        if application.get("import_path") != _ORCHESTRATION:
            continue
        given = cast("object", application.get("args") or {})
        if not isinstance(given, dict):
            raise _refused(f"{config}: args: settings by their names were expected")
        try:
            return OrchestrationSettings.model_validate(given)
        except ValidationError as error:
            wrong = "; ".join(_wrong(one) for one in error.errors(include_input=False, include_url=False))
            raise _refused(f"{config}: {wrong}") from None
    raise _refused(f"{config} has no application with the import_path {_ORCHESTRATION}")


def _applications(config: Path) -> list[dict[str, Any]]:
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise _refused(f"{config} cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        # Its own words quote the line, which may have a password.
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _refused(f"{config} is no YAML{place}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refused(f"{config} is no YAML: {type(error).__name__}") from None
    listed: object = cast("dict[str, object]", found).get("applications") or [] if isinstance(found, dict) else []
    applications = cast("list[object]", listed if isinstance(listed, list) else [listed])
    if not all(isinstance(one, dict) for one in applications):
        raise _refused(f"{config}: applications: a list was expected, of which each has an import_path")
    return cast("list[dict[str, Any]]", applications)


def _wrong(error: ErrorDetails) -> str:
    # What is no name, such as a URL in the place of one, may have a password.
    names = (str(part) if _NAME.fullmatch(str(part)) else "…" for part in error["loc"])
    return f"{'.'.join(('args', *names))}: {error['msg']}"


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, field="config")


def user_permissions(user: User, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what a user may do, as the server's configuration has it. Everything else is denied."""
    names = {**names, "user_id": user.user_id} if user.user_id else names
    each = [permissions(role, names) for role in user.roles]
    return {
        "publish": {"allow": _widest((*user.answers, *(subject for one in each for subject in one.publish)))},
        "subscribe": {"allow": _widest(subject for one in each for subject in one.subscribe)},
    }


def _widest(subjects: Iterable[str]) -> list[str]:
    """Return subjects in their order, without those that another one has in it."""
    every = set(subjects)
    return sorted(one for one in every if not any(covers(other, one) for other in every - {one}))


def server_configuration(names: Mapping[str, str], users: Iterable[User] = USERS) -> str:
    """Return the part of a NATS server's configuration that says who may do what.

    Args:
        names: Of the installation (see `installation_names`).
        users: Who connects.
    """
    return _HEAD + "\n".join(
        ("authorization {", "  users = [", *(_user_block(user, names) for user in users), "  ]", "}", "")
    )


def jwt_claims(names: Mapping[str, str], users: Iterable[User] = USERS) -> dict[str, Any]:
    """Return the same by user, as the claims of a user's JWT have it: what stands under "nats" there."""
    claims: dict[str, Any] = {}
    for user in users:
        may = user_permissions(user, names)
        claims[user.name] = {"type": "user", "version": 2, "pub": may["publish"], "sub": may["subscribe"]}
    return claims


def chart_values(names: Mapping[str, str], users: Iterable[User] = USERS) -> str:
    """Return the values of NATS's Helm chart that say who may do what, with passwords out of a Secret."""
    users = tuple(users)
    env: dict[str, Any] = {}
    for user in users:
        env[user.secret_variable] = {"valueFrom": {"secretKeyRef": {"name": "hearth-nats", "key": user.name}}}
        env[user.password_variable] = f"'$({user.secret_variable})'"
    entries = [
        {
            "user": user.name,
            "password": f"<< ${user.password_variable} >>",
            "permissions": user_permissions(user, names),
        }
        for user in users
    ]
    values = {"container": {"env": env}, "config": {"merge": {"authorization": {"users": entries}}}}
    return _CHART_HEAD + yaml.safe_dump(values, sort_keys=False, width=120)


_HEAD = """\
# The server takes each password out of its variable, and reads it as a part of this file. So put it between single
# quotes there: HEARTH_PASSWORD="'a password'". Without them, a password such as 123456, 5m, true or "a b" keeps the
# server from starting. A password has no single quote and no line end. It does not begin as a bcrypt hash does, with
# $2a$: the server would take it for the hash of another. Whoever connects gives the password without the quotes.
"""
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
# The server reads a variable as a part of its configuration. The quotes that it needs around a password are put there
# from here, so write the passwords without any. A password has no single quote and no line end. It does not begin as a
# bcrypt hash does, with $2a$: the server would take it for the hash of another.
#
# Hearth's own goes into the Secret hearth-secrets: NATS_USER=hearth and NATS_PASSWORD.
"""


def _user_block(user: User, names: Mapping[str, str]) -> str:
    may, name = user_permissions(user, names), json.dumps(user.name, ensure_ascii=False)
    lines = [
        f"    # {user.about}",
        f"    {{ user: {name}, password: ${user.password_variable}, permissions: {{",
    ]
    for verb, subjects in may.items():
        lines += [f"      {verb}: {{ allow: ["]
        lines += [f"        {json.dumps(subject, ensure_ascii=False)}" for subject in subjects["allow"]]
        lines += ["      ] }"]
    return "\n".join((*lines, "    } }"))
