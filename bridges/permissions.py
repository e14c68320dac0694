"""What each role may publish and subscribe, as a NATS server takes it: made from the table of subjects."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridges.subjects import SUBJECTS, Role, Subject
from deployments.settings.orchestration import OrchestrationSettings


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
    used = [row for row in SUBJECTS if all(names.get(token, token) for token in row.tokens)]
    return Permissions(
        _wildcards((row for row in used if role in row.publishers), names),
        _wildcards((row for row in used if role in row.subscribers), names),
    )


def installation_names(settings: OrchestrationSettings) -> dict[str, str]:
    """Return what an installation calls the buckets and the stream that it keeps things in, by token."""
    return {
        "conversations_bucket": settings.memory.bucket if settings.memory.enabled else "",
        "runs_bucket": settings.pipelines.bucket,
        "triggers_stream": settings.pipelines.stream,
    }


def _wildcards(rows: Iterable[Subject], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({row.narrowed(**names) for row in rows}))
