"""Settings of the pipelines: the engines, how they are reached, and the table of what may be started there."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_core import from_json

from deployments.settings.access import TlsSettings
from deployments.settings.base import Settings, bucket_name, stream_name
from deployments.values.access import Secret, ServerAccess, ServerUrl

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_NO_CONTROL_CHARACTERS = r"[^\x00-\x1f\x7f]*"
_CLOCK_SKEW_S = 86_400.0
_ONCE_OUTSIDE = frozenset({"ca_file", "certificate_file", "key_file"})


class EngineConnectionSettings(Settings):
    """How an engine's server is reached and who we are to it. Every file is read again when it changes.

    `ca_file`, `certificate_file` and `key_file` may stand outside of `tls`, too, where they once stood.

    Attributes:
        url: Of the server. A user and password in it, percent-encoded, are sent to it and shown nowhere.
        token_file: Holds a bearer token; empty for none.
        token_variable: Environment variable that holds it, where no file does; empty for none.
        tls: How the server is known, and who we are to it.
        verify: Whether the server's certificate is checked.
        timeout_s: Seconds that one request may take.
        watch_idle_s: Seconds that a watch may say nothing before the run is asked for and watched anew.
    """

    url: str
    token_file: str = ""
    token_variable: str = ""
    tls: TlsSettings = TlsSettings()
    verify: bool = True
    timeout_s: PositiveFloat = 10.0
    watch_idle_s: PositiveFloat = 60.0

    @field_validator("url")
    @classmethod
    def _has_a_scheme(cls, url: str) -> str:
        # The URL may have a password, so that no error quotes it.
        if not ServerUrl.parse(url).address.lower().startswith(("http://", "https://")):
            raise ValueError("expected http:// or https:// and a host")
        return url.rstrip("/")

    @model_validator(mode="before")
    @classmethod
    def _files_once_stood_outside(cls, given: Any) -> object:
        if not isinstance(given, dict) or not given.keys() & _ONCE_OUTSIDE:
            return cast("object", given)
        settings = cast("dict[str, Any]", given)
        tls = cast("dict[str, Any]", settings.get("tls") or {})
        outside = {name: settings[name] for name in _ONCE_OUTSIDE if name in settings}
        if tls.keys() & outside.keys():
            raise ValueError(f"{' and '.join(sorted(outside))}: given inside of tls and outside: expected tls alone")
        inside = {name: value for name, value in settings.items() if name not in outside}
        return {**inside, "tls": {**tls, **outside}}

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if self.token_variable and self.token_file and "token_file" in self.model_fields_set:
            raise ValueError("token_file and token_variable are both given: expected one of them")
        return self

    def access(self, engine: str) -> ServerAccess:
        """Return who we are to the server, for those that connect.

        Args:
            engine: Its name, under which its settings are.
        """
        tls = replace(self.tls.access(), verify=self.verify)
        section = f"pipelines.{engine}"
        return ServerAccess(
            # A file that was not given is where a pod usually has one.
            Secret(variable=self.token_variable) if self.token_variable else Secret(self.token_file),
            tls,
            setting=f"{section}.token",
            tls_setting=f"{section}.tls",
            url_setting=f"{section}.url",
            is_needed=True,
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        shown = {"url": ServerUrl.parse(self.url).address}
        return [(name, shown.get(name or "", value)) for name, value in super().__repr_args__()]


class ArgoServerSettings(EngineConnectionSettings):
    """Argo Workflows by the REST API of Argo Server.

    Attributes:
        url: `ARGO_HOST` overrides it.
        namespace: Of the workflows. `ARGO_NAMESPACE` overrides it.
        service_account: That the workflows run as; empty for the template's own.
    """

    kind: Literal["argo-server"]
    url: str = "http://argo-server.argo.svc.cluster.local:2746"
    namespace: str = "ai-ml"
    service_account: str = ""


class ServiceAccountTlsSettings(TlsSettings):
    """As a pod knows the Kubernetes API; see `TlsSettings`."""

    ca_file: str = f"{_SERVICE_ACCOUNT}/ca.crt"


class KubernetesSettings(EngineConnectionSettings):
    """Argo Workflows by the Kubernetes API alone, as the pod's service account, for a cluster without Argo Server.

    Attributes:
        namespace: Of the workflows. `ARGO_NAMESPACE` overrides it.
        service_account: That the workflows run as; empty for the template's own.
    """

    kind: Literal["kubernetes"]
    url: str = "https://kubernetes.default.svc"
    token_file: str = f"{_SERVICE_ACCOUNT}/token"
    tls: ServiceAccountTlsSettings = ServiceAccountTlsSettings()  # pyright: ignore[reportIncompatibleVariableOverride] - frozen
    namespace: str = "ai-ml"
    service_account: str = ""


class KubeflowSettings(EngineConnectionSettings):
    """Kubeflow Pipelines by its v2beta1 API.

    Attributes:
        url: `KUBEFLOW_HOST` overrides it.
        namespace: Of the pipelines, where Kubeflow serves several users; empty else.
        experiment_id: That runs belong to; empty for the default one.
        user: Sent in the header `user_header`, where Kubeflow serves several users; empty for none.
        user_header: Its name.
        poll_s: Seconds between two looks at a run, each a fifth more or less, so that runs are not looked at at once.
    """

    url: str = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    namespace: str = ""
    experiment_id: str = ""
    user: str = ""
    user_header: str = "kubeflow-userid"
    poll_s: PositiveFloat = 5.0


class ParameterType(StrEnum):
    """What a parameter is to the engine. Argo Workflows takes text alone."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"


class ParameterSettings(Settings):
    """A parameter that triggers may give.

    Attributes:
        pattern: A regular expression that the whole value has to match; else whatever has no control characters.
        default: Given to the engine where the trigger leaves it out; else the engine's own default holds.
        required: Whether a trigger without it is refused.
        type: What Kubeflow is given it as.
        max_characters: Longer values are refused.
    """

    pattern: str = _NO_CONTROL_CHARACTERS
    default: str | None = None
    required: bool = False
    type: ParameterType = ParameterType.STRING
    max_characters: PositiveInt = 4096

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default is not None and not self.allows(self.default):
            raise ValueError(
                f"the default {self.default!r} is not what pattern {self.pattern!r} and type {self.type} take"
            )
        if self.required and self.default is not None:
            raise ValueError("a required parameter must not have a default")
        return self

    def allows(self, value: str) -> bool:
        """Say whether a trigger may give this value."""
        return (
            len(value) <= self.max_characters
            and re.fullmatch(self.pattern, value) is not None
            and is_of_type(value, self.type)
        )


class PipelineSettings(Settings):
    """A row of the pipeline table.

    Attributes:
        engine: Where it runs.
        target: The WorkflowTemplate, or the name of the pipeline in Kubeflow; else the row's own name.
        deadline_s: Seconds from its trigger after which a run is stopped.
        parameters: What triggers may give, by name; anything else is refused.
    """

    engine: Literal["argo", "kubeflow"]
    target: str = ""
    deadline_s: PositiveFloat = 3600.0
    parameters: Mapping[str, ParameterSettings] = Field(default_factory=dict[str, ParameterSettings])


class PipelinesSettings(Settings):
    """The pipelines. Without a table there is no deployment for them, and triggers are answered with an error.

    Attributes:
        argo: Where Argo Workflows is.
        kubeflow: Where Kubeflow Pipelines is.
        table: What may be started, by the name that triggers give.
        bucket: Name of the NATS key-value bucket that keeps the runs. It is made if it does not exist, and needs
            JetStream.
        stream: Name of the NATS stream that keeps each trigger until something became of it, so that one whose ingress
            dies, or is away, is not lost. It is made if it does not exist. Empty for none.
        stream_max_age_s: Seconds after which a lost trigger is no longer worth starting.
        remember_s: Seconds for which the bucket remembers a run after its last change. Of a bucket that is there
            already, its own holds.
        accept_timeout_s: Seconds in which a trigger has to be kept, while the service or the bucket is away.
        submit_timeout_s: Seconds in which the engine has to take a run; it is tried again and again until then.
        max_submissions: Requests to start a run that one engine is sent at once by one replica.
        max_runs: Unfinished runs of one replica; further ones are refused as overloaded.
        retry_s: Seconds before the first further attempt at an engine that does not answer; doubled each time.
        max_retry_s: And never more than this.
    """

    argo: Annotated[ArgoServerSettings | KubernetesSettings, Field(discriminator="kind")] = ArgoServerSettings(
        kind="argo-server"
    )
    kubeflow: KubeflowSettings = KubeflowSettings()
    table: Mapping[str, PipelineSettings] = Field(default_factory=dict[str, PipelineSettings])
    bucket: str = "hearth_pipelines"
    stream: str = "HEARTH_PIPELINES"
    stream_max_age_s: PositiveFloat = 3600.0
    remember_s: PositiveFloat = 30 * 86_400.0
    accept_timeout_s: PositiveFloat = 20.0
    submit_timeout_s: PositiveFloat = 30.0
    max_submissions: PositiveInt = 16
    max_runs: PositiveInt = 1000
    retry_s: PositiveFloat = 0.5
    max_retry_s: NonNegativeFloat = 30.0

    @field_validator("bucket")
    @classmethod
    def _is_a_bucket(cls, bucket: str) -> str:
        return bucket_name(bucket)

    @field_validator("stream")
    @classmethod
    def _is_a_stream_or_none(cls, stream: str) -> str:
        return stream_name(stream) if stream else stream

    @model_validator(mode="after")
    def _runs_are_remembered_to_their_end(self) -> Self:
        for name, row in self.table.items():
            if row.deadline_s + _CLOCK_SKEW_S > self.remember_s:
                raise ValueError(
                    f"deadline_s {row.deadline_s:g} of pipeline {name!r} has to be a day less than remember_s "
                    f"{self.remember_s:g}, or its runs would be forgotten before their end"
                )
        return self


def is_of_type(value: str, kind: ParameterType) -> bool:
    """Say whether a text can be given as a value of this type."""
    try:
        typed(value, kind)
    except ValueError:
        return False
    return True


def typed(value: str, kind: ParameterType) -> object:
    """Return a parameter as the JSON value that its type asks for.

    Raises:
        ValueError: The text is not one.
    """
    match kind:
        case ParameterType.STRING:
            return value
        case ParameterType.INTEGER:
            return int(value)
        case ParameterType.NUMBER:
            return _finite(value)
        case ParameterType.BOOLEAN:
            return {"true": True, "false": False}[_known(value.lower(), ("true", "false"))]
        case ParameterType.JSON:
            return _json(value)


def _json(value: str) -> object:
    """Read JSON that is nested at most some 200 deep, as whoever writes it again has to be able to."""
    read = from_json(value, allow_inf_nan=False)
    # A number such as 1e999 is read as one that JSON does not have.
    json.dumps(read, allow_nan=False)
    return read


def _finite(value: str) -> float:
    number = float(value)
    if number - number != 0.0:
        raise ValueError(f"{value!r} is not finite")
    return number


def _known(value: str, words: tuple[str, ...]) -> str:
    if value not in words:
        raise ValueError(f"{value!r} is none of {words}")
    return value
