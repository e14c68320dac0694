"""The typed configuration: what `serve_config.yaml` gives as `args`, with the environment over it.

Unknown keys are refused, so a misspelt setting fails the deployment with its name. Where the system that Hearth
replaces took a value from the environment, so does Hearth, under the same name; the environment wins, because
that is how one file serves many machines.
"""

import os
import re
from collections.abc import Iterable
from typing import Any, Literal, Self, cast

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from deployments.settings.access import NatsAccessSettings, TlsSettings
from deployments.settings.audio import AudioSettings, SpeechOutputSettings
from deployments.settings.base import Settings, bucket_name
from deployments.settings.environment import with_environment
from deployments.settings.pipelines import PipelinesSettings
from deployments.settings.users import RequestSizes, UserLimits, may_have_rate
from deployments.values.access import Secret, ServerAccess, without_credentials
from deployments.values.requests import RequestKind

_JETSTREAM_NAME = r"^[A-Za-z0-9_-]+$"


class MilvusSettings(Settings):
    """Where Milvus is, and how it is searched.

    Attributes:
        uri: Of the server. A user and password in it count where no token is given. `MILVUS_HOST` (a host, a
            host:port or a URI) and `MILVUS_PORT` go over it.
        token_variable: Environment variable that holds "user:password" or an API key.
        token_file: File that holds it instead. Once it changes, Milvus is connected to anew.
        tls: How the server is known. A client certificate needs `ca_file` and `key_file`.
        collection: Searched and written where a request names none. `COLLECTION_NAME` overrides it.
        retrieve: Passages fetched before reranking.
        keep: Passages kept where a request says `top_k` 0.
        max_keep: Bound on what a request may ask for.
        passage_characters: Longer passages are cut.
        keyword_weight: Share, from 0 to 1, of the search by words (BM25) in what is fetched; the rest is the search by
            meaning. Only of collections that have it: those that Hearth made on Milvus 2.5 or later, and others with a
            BM25 function.
    """

    uri: str = "http://127.0.0.1:19530"
    token_variable: str = "MILVUS_TOKEN"  # noqa: S105 - the name of a variable
    token_file: str = ""
    tls: TlsSettings = TlsSettings()
    collection: str = "knowledge_base"
    retrieve: PositiveInt = 20
    keep: PositiveInt = 5
    max_keep: PositiveInt = 50
    passage_characters: PositiveInt = 2000
    keyword_weight: float = Field(default=0.4, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _a_certificate_is_whole(self) -> Self:
        if self.tls.certificate_file and not (self.tls.key_file and self.tls.ca_file):
            raise ValueError("tls.certificate_file needs tls.key_file and tls.ca_file")
        return self

    def access(self) -> ServerAccess:
        """Return who we are to Milvus, for those that connect."""
        token = Secret(file=self.token_file) if self.token_file else Secret(variable=self.token_variable)
        return ServerAccess(
            token, self.tls.access(), setting="milvus.token", tls_setting="milvus.tls", url_setting="milvus.uri"
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        shown = {"uri": without_credentials(self.uri)}
        return [(name, shown.get(name or "", value)) for name, value in super().__repr_args__()]


_HEADER = re.compile(r"[!-9;-~]+")
_SUBJECT_TOKEN = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")


class RequestLimits(Settings):
    """What one row of the requests may take of an ingress replica; what is not given keeps its default.

    Attributes:
        in_flight: Requests worked on at once. By default `max_in_flight`, of documents a quarter of it, of what is
            answered at once a number of its own.
        waiting: Requests that wait. By default `max_waiting`, of documents and of what is answered at once less.
        held_bytes: Of the payloads that wait and are worked on. By default 64 MiB.
        wait_s: Seconds that a request waits at most. By default `max_wait_s`, of documents half of `ingest_timeout_s`.
    """

    in_flight: PositiveInt | None = None
    waiting: NonNegativeInt | None = None
    held_bytes: PositiveInt | None = None
    wait_s: PositiveFloat | None = None


class DurableSettings(Settings):
    """Which requests are kept in JetStream until they are answered, and how.

    Attributes:
        rows: The requests, by the name of their endpoint. None are kept as shipped, and JetStream is not needed.
        stream: The stream that is made for them. Where another stream has the subject of a row already, the requests
            are taken from that one.
        bucket: The key-value bucket that keeps who answers what, and the answers, so that each goes out once.
        dead_letters: The stream of requests that were given up.
        storage: Whether NATS keeps all this in files, which its restart does not lose, or in memory.
        replicas: On how many servers of a NATS cluster it is kept.
        tries: How often a request is begun, at most, before it is given up.
        take_over_s: Seconds after which a request is given to another replica if the one that has it says nothing.
        remember_s: Seconds, beyond the time that a request has, that an answered one is known by its request id.
            It is a minute at least, for as long as its stream keeps a request.
        broken_stream: What the stream of an answer gets whose replica was lost: its end, or what follows in the new
            answer if that begins like the old one.
        dead_letter_s: Seconds that a dead letter is kept.
    """

    rows: tuple[Literal["chat-message", "chat-request", "greeting", "voice-request"], ...] = ()
    stream: str = Field(default="HEARTH_REQUESTS", pattern=_JETSTREAM_NAME)
    bucket: str = Field(default="hearth_answers", pattern=_JETSTREAM_NAME)
    dead_letters: str = Field(default="HEARTH_DEAD", pattern=_JETSTREAM_NAME)
    storage: Literal["file", "memory"] = "file"
    replicas: PositiveInt = Field(default=1, le=5)
    tries: PositiveInt = 3
    take_over_s: PositiveFloat = 5.0
    remember_s: NonNegativeFloat = 60.0
    broken_stream: Literal["end", "continue"] = "end"
    dead_letter_s: PositiveFloat = 7 * 86400.0


class NatsSettings(Settings):
    """Where NATS is, and how requests are taken from it.

    Attributes:
        url: One server, or several separated by commas. `NATS_URL` overrides it.
        access: Who connects, and how the server is known.
        queue_group: Shared by all replicas that take requests, so that each request goes to one of them.
        max_in_flight: Requests worked on at once by one ingress replica, of all kinds together. What is answered at
            once, such as `hearth.status`, does not count.
        max_waiting: Requests of one row that wait for their turn. Of further ones, the last of whoever has most
            waiting is refused as overloaded.
        max_wait_s: Seconds that a request waits for its turn at most; then it is refused as overloaded too.
        limits: Limits of single rows, by the name of their endpoint, such as `documents-ingest`.
        order: The kinds of work, whose turn comes first. Within a kind, requests wait longer the more places their user
            holds and has held.
        user_share: The part of `max_in_flight` that one user may hold.
        sizes: How much one request may hold.
        users: What a user may take and name, by user id or a pattern with "*".
        user_header: Header of a message that names its user where the subject does not; empty: no header is believed.
            For gateways that set it themselves.
        request_timeout_s: Time that a request has from its arrival to its final answer.
        ingest_timeout_s: The same for an ingested document.
        leave_within_s: Seconds that a replica which stops has for what it has begun. What is not done then is left to
            another replica if it is kept; else its client is told. To be less than the replica's
            `graceful_shutdown_timeout_s`: then Serve kills it.
        answer_subjects: Where answers may go that a client chooses, by its reply subject or `response_subject`, with
            NATS's wildcards. A client's usual inbox and the answer subjects of the request itself need not be listed.
            A client with an inbox prefix of its own, or a `response_subject`, needs an entry.
        any_user: Take a payload that names another user than its subject does, for clients that ask for several users
            over one subject. Off, such a request is refused.
        log_text: Write what users ask and are answered into the log, too.
        durable: Which requests are kept in JetStream until they are answered.
    """

    url: str = "nats://127.0.0.1:4222"
    access: NatsAccessSettings = NatsAccessSettings()
    queue_group: str = "hearth"
    max_in_flight: PositiveInt = 64
    max_waiting: PositiveInt = 256
    max_wait_s: PositiveFloat = 10.0
    limits: dict[str, RequestLimits] = Field(default_factory=dict)
    order: tuple[RequestKind, ...] = (RequestKind.VOICE, RequestKind.CHAT, RequestKind.INGESTION)
    user_share: float = Field(default=0.5, gt=0, le=1)
    sizes: RequestSizes = RequestSizes()
    users: dict[str, UserLimits] = Field(default_factory=dict)
    user_header: str = ""
    request_timeout_s: PositiveFloat = 60.0
    ingest_timeout_s: PositiveFloat = 300.0
    leave_within_s: PositiveFloat = 65.0
    answer_subjects: tuple[str, ...] = ()
    any_user: bool = False
    log_text: bool = False
    durable: DurableSettings = DurableSettings()

    @field_validator("order")
    @classmethod
    def _names_each_kind_once(cls, order: tuple[RequestKind, ...]) -> tuple[RequestKind, ...]:
        kinds = {RequestKind.VOICE, RequestKind.CHAT, RequestKind.INGESTION}
        if len(order) != len(kinds) or set(order) != kinds:
            raise ValueError(f"order is {[*order]}; each of {sorted(kinds)} was expected once")
        return order

    @field_validator("users")
    @classmethod
    def _name_somebody(cls, users: dict[str, UserLimits]) -> dict[str, UserLimits]:
        for name, limits in users.items():
            if not name or name != name.strip():
                raise ValueError(
                    f"users has the name {name!r}; a user id, a pattern such as 'guest-*' or '*' was expected, without "
                    "spaces around it"
                )
            if limits.request_burst and not may_have_rate(users, name):
                raise ValueError(
                    f"users.{name}.request_burst is {limits.request_burst}, and has no effect without a "
                    "requests_per_minute"
                )
        return users

    @field_validator("user_header")
    @classmethod
    def _can_be_a_header(cls, header: str) -> str:
        if header and not _HEADER.fullmatch(header):
            raise ValueError(
                f"user_header is {header!r}; a name such as 'Hearth-User' was expected, without ':' or spaces"
            )
        return header

    @field_validator("answer_subjects")
    @classmethod
    def _are_subjects_for_clients(cls, subjects: tuple[str, ...]) -> tuple[str, ...]:
        for subject in subjects:
            tokens = subject.split(".")
            is_subject = all(token in {"*", ">"} or _SUBJECT_TOKEN.fullmatch(token) for token in tokens)
            if not is_subject or subject.startswith("$") or tokens[0] in {"*", ">"} or ">" in tokens[:-1]:
                raise ValueError(f"answer_subjects has {subject!r}; a subject such as 'my.answers.>' was expected")
        return subjects

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [
            (name, without_credentials(self.url) if name == "url" else value) for name, value in super().__repr_args__()
        ]


class HealthSettings(Settings):
    """Where the ingress answers `/health` and `/ready` over HTTP.

    Attributes:
        host: Address to listen on. `HEARTH_HEALTH_HOST` overrides it.
        port: 0 for none. One that is taken is a warning, so that several replicas may share a node.
    """

    host: str = "127.0.0.1"
    port: NonNegativeInt = Field(default=0, le=65535)


class MemorySettings(Settings):
    """What is remembered of each user's conversation, in a NATS key-value bucket.

    Attributes:
        enabled: Off, every question stands for itself.
        bucket: Its name. It is made if it does not exist, and needs JetStream.
        turns: Turns that are kept of each user.
        turn_characters: Longer questions and answers are cut.
        lifetime_s: Seconds after its last turn that a conversation is forgotten. Of a bucket that is there already,
            its own holds.
    """

    enabled: bool = True
    bucket: str = "hearth_conversations"
    turns: PositiveInt = 4
    turn_characters: PositiveInt = 2000
    lifetime_s: PositiveFloat = 3600.0

    @field_validator("bucket")
    @classmethod
    def _is_a_bucket(cls, bucket: str) -> str:
        return bucket_name(bucket)


class TurnRecordSettings(Settings):
    """Where the records of spoken turns are kept, besides being published.

    Attributes:
        file: Each record is appended to it as a line of JSON, on the machine of the ingress; empty for no file.
            `HEARTH_TURNS` overrides it. What was said is in it only with `nats.log_text`.
        max_bytes: A larger file is renamed to FILE.1, over the one before.
    """

    file: str = ""
    max_bytes: PositiveInt = 10_000_000


class ScalingSettings(Settings):
    """When the deployments with an `autoscaling_config` get more replicas, besides their `target_ongoing_requests`.

    Attributes:
        waiting_per_replica: Requests that may wait for each replica of an ingress, and of a service whose requests they
            are. What waits in the streams of `nats.durable` counts, too.
    """

    waiting_per_replica: PositiveInt = 8


class OrchestrationSettings(Settings):
    """The orchestration application.

    Attributes:
        language_model: Name of the Serve application that holds the language model.
        language_model_deployment: The deployment in it that answers; it has another name where the language model is
            a server of `ray.serve.llm` itself, such as "RayLanguageModel:my-model".
        embeddings: Likewise for embeddings.
        reranker: Likewise for the reranker. Where it is the application of the embeddings, the reranker runs in the
            replicas of the embeddings: see `EmbeddingsSettings.reranker`.
        audio: How live audio is listened to.
        speech: How things are said.
        turns: Where the records of spoken turns are kept.
        scaling: When deployments that scale get more replicas.
        pipelines: What may be started on workflow engines, and where these are.
        speech_to_text: Name of the application, as for the language model.
        text_to_speech: Likewise.
        in_process: Services that run in the replica of their caller (of an ingress, or of Chat in the case of
            Retrieval) and not as deployments of their own: fewer hops, less memory and a sooner start, against being
            seen, scaled and restarted apart. The application's `deployments` must not list them.
    """

    nats: NatsSettings = NatsSettings()
    milvus: MilvusSettings = MilvusSettings()
    memory: MemorySettings = MemorySettings()
    health: HealthSettings = HealthSettings()
    audio: AudioSettings = AudioSettings()
    speech: SpeechOutputSettings = SpeechOutputSettings()
    turns: TurnRecordSettings = TurnRecordSettings()
    scaling: ScalingSettings = ScalingSettings()
    pipelines: PipelinesSettings = PipelinesSettings()
    language_model: str = "language-model"
    language_model_deployment: str = "LanguageModel"
    embeddings: str = "embeddings"
    reranker: str = "reranker"
    speech_to_text: str = "speech-to-text"
    text_to_speech: str = "text-to-speech"
    in_process: tuple[
        Literal["Chat", "Retrieval", "Ingestion", "Transcription", "Speech", "Voice", "Pipelines"], ...
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _environment_goes_over(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return with_environment(cast("dict[str, Any]", given), os.environ)
