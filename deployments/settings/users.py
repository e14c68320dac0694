"""How much one request may hold, and what one user may take and name."""

from collections.abc import Iterable, Mapping

from pydantic import PositiveFloat, PositiveInt, field_validator

from deployments.settings.base import Settings


class RequestSizes(Settings):
    """What one request may hold. Larger ones are refused, and the error names the field and the limit.

    Attributes:
        question_characters: Of `message` and of `query`.
        system_prompt_characters: Of a written question's `system_prompt`. A session may have 16,384 bytes.
        document_characters: Of the text of one message. A document that travels in parts may have more.
        name_characters: Of a user id, a language, a voice, a collection, a document's `source` or its `title`.
        voice_sample_bytes: Of the sound in `speaker_wav_b64`.
    """

    question_characters: PositiveInt = 1_048_576
    system_prompt_characters: PositiveInt = 1_048_576
    document_characters: PositiveInt = 4_194_304
    name_characters: PositiveInt = 8_192
    voice_sample_bytes: PositiveInt = 16_777_216


class UserLimits(Settings):
    """What one user may take of one ingress replica, and name. What is None is not limited.

    Attributes:
        open_requests: Requests that are worked on or wait at once.
        requests_per_minute: Of all requests but `hearth.status`. The start of a live session is one, too.
        request_burst: Requests that may come at once where none came before. By default as many as a minute has.
        characters_per_minute: Of questions, system prompts and texts to speak.
        sound_s_per_minute: Seconds of sound, in recorded questions and live sessions.
        live_sessions: Live sessions that are open at once.
        ingested_characters_per_hour: Of documents.
        collections: Those that may be named, as names or patterns with "*".
        voices: Likewise. A request that names none is spoken by the default voice all the same.
        pipelines: Likewise.
        ingest: Whether documents may be put in.
        delete: Whether documents may be taken out.
    """

    open_requests: PositiveInt | None = None
    requests_per_minute: PositiveFloat | None = None
    request_burst: PositiveInt | None = None
    characters_per_minute: PositiveFloat | None = None
    sound_s_per_minute: PositiveFloat | None = None
    live_sessions: PositiveInt | None = None
    ingested_characters_per_hour: PositiveFloat | None = None
    collections: tuple[str, ...] | None = None
    voices: tuple[str, ...] | None = None
    pipelines: tuple[str, ...] | None = None
    ingest: bool = True
    delete: bool = True

    @field_validator("collections", "voices", "pipelines")
    @classmethod
    def _are_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if not name or name != name.strip():
                raise ValueError(
                    f"{name!r} is empty or has spaces around it; names such as 'manuals', or patterns such as "
                    "'public_*', were expected"
                )
        return names


def limits_of(users: Mapping[str, UserLimits], user: str) -> UserLimits:
    """Return the limits of a user; see `entries_of`."""
    return joined(users, entries_of(users, user))


def entries_of(users: Mapping[str, UserLimits], user: str) -> tuple[str, ...]:
    """Return the names of the entries that hold for a user, the closest one last.

    Args:
        users: By user id, or by a pattern with "*". "*" alone is everybody. Of two patterns that fit, the one with more
            letters is the closer one, and an id is closer than any pattern.
        user: The user's id; empty for somebody whom nobody named, who is only one of everybody.
    """
    fitting = [name for name in users if name == "*" or (user and fits(user, name))]
    return tuple(sorted(fitting, key=lambda name: ("*" not in name, len(name.replace("*", "")), name)))


def may_have_rate(users: Mapping[str, UserLimits], entry: str) -> bool:
    """Say whether somebody for whom an entry holds may have a limited number of requests a minute."""
    if "*" not in entry:
        return limits_of(users, entry).requests_per_minute is not None
    return any(
        limits.requests_per_minute is not None and ("*" in name or fits(name, entry)) for name, limits in users.items()
    )


def joined(users: Mapping[str, UserLimits], entries: Iterable[str]) -> UserLimits:
    """Return what entries say together: what is given in a later one goes over what is given in those before it."""
    given: dict[str, object] = {}
    for name in entries:
        given |= {field: getattr(users[name], field) for field in users[name].model_fields_set}
    return UserLimits.model_validate(given)


def fits(name: str, pattern: str) -> bool:
    """Say whether a name is what a pattern names; "*" in it stands for any characters, or none."""
    # Part by part and not by a regular expression, which takes a time that grows with a power of the name's length.
    if "*" not in pattern:
        return name == pattern
    first, *between, last = pattern.split("*")
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in between:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
