"""The services of the graph: each protocol of `deployments.services` with the name of its deployment.

A definition gives the clients of its service and the application that runs it. Both are made from the protocol, so a
method is written down in two places: in the protocol and in the class that does the work. The type checker holds every
call, and whatever is given as the service, to the protocol.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.graph.clients import client_class
from deployments.graph.deployment import Replica, add_methods, hosted_prefix, replica_class
from deployments.graph.door import application_door, handle_door, in_process_door
from deployments.graph.interface import methods_of
from deployments.services import (
    ChatService,
    EmbeddingsService,
    IngestionService,
    LanguageModelService,
    PipelinesService,
    RerankerService,
    RetrievalService,
    SpeechService,
    SpeechToTextService,
    TextToSpeechService,
    TranscriptionService,
    VoiceService,
)

S = TypeVar("S")
P = ParamSpec("P")

Handles = Mapping[str, DeploymentHandle[Any]]
"""Handles of the deployments of one application, by name."""


class ServiceDefinition(Generic[S]):
    """A service of the graph.

    Args:
        interface: Its protocol: every public method takes `call: Call` first, and is `async` or returns an
            `AsyncGenerator`.
        name: Its deployment, as the configuration, spans and messages call it.
        hosts: Other services that its replicas answer for, too.

    Raises:
        TypeError: The protocol has something else in it; the message names it.
    """

    def __init__(self, interface: type[S], name: str, hosts: tuple["ServiceDefinition[Any]", ...] = ()) -> None:
        self.interface = interface
        self.name = name
        self.methods = methods_of(interface)
        self._hosted = {other.name: other.methods for other in hosts}
        self._client = client_class(name, self.methods)

    def in_application(self, application: str, deployment: str = "") -> S:
        """Return a client of the service in another Serve application, which need not run yet.

        Args:
            application: Its name.
            deployment: The service's deployment in it, where that is not called as the service.
        """
        return cast("S", self._client(application_door(application, self.name, deployment or self.name)))

    def in_replicas_of(self, host: "ServiceDefinition[Any]", application: str) -> S:
        """Return a client of the service in the replicas of another one, which need not run yet.

        Args:
            host: The other service; its deployment is bound with `hosting`.
            application: The Serve application of that deployment.
        """
        return cast(
            "S", self._client(application_door(application, self.name, host.name, prefix=hosted_prefix(self.name)))
        )

    def hosting(self, *others: "ServiceDefinition[Any]") -> "ServiceDefinition[S]":
        """Return the service with others in the same replicas.

        What is built for a replica is then a `Replica` whose `hosted` has them. The methods of the others have names of
        their own there, such as `Reranker_status`; clients by `in_replicas_of` call them.
        """
        return ServiceDefinition(self.interface, self.name, others)

    def hosted(self, service: S) -> Mapping[str, object]:
        """Return a service as the `hosted` of a `Replica` that has another one."""
        return {self.name: service}

    def by_handle(self, handle: DeploymentHandle[Any]) -> S:
        """Return a client of the service in the same Serve application.

        Raises:
            ValueError: The handle is that of another deployment.
        """
        if handle.deployment_name != self.name:
            raise ValueError(f"a handle of {handle.deployment_name} was given for {self.name}")
        return cast("S", self._client(handle_door(handle)))

    def in_process(self, service: S) -> S:
        """Return a client of a service that runs in this process, with the deadline and the errors of a handle."""
        return cast("S", self._client(in_process_door(service, self.name)))

    def connect(self, handles: Handles, build: Callable[P, S], *arguments: P.args, **named: P.kwargs) -> S:
        """Return a client: by the handle of the service, or of a service built in this process where it has none."""
        handle = handles.get(self.name)
        return self.by_handle(handle) if handle else self.in_process(build(*arguments, **named))

    def replica_class(self, build: Callable[P, S | Replica[S]]) -> type[Any]:
        """Return the class that Serve runs in the service's replicas: see `deployments.graph.deployment`."""
        return replica_class(self.name, self.methods, build, self._hosted)

    def add_to(self, replica: type[Any]) -> None:
        """Give a class of replicas that answers other calls already the service's methods, too.

        Args:
            replica: The class. Its instances hold the service as `service`.

        Raises:
            TypeError: The class has a method of such a name already.
        """
        add_methods(replica, self.name, self.methods)

    def bind(self, build: Callable[P, S | Replica[S]], *arguments: P.args, **named: P.kwargs) -> Application:
        """Return the service's deployment, bound to what it is built from.

        Args:
            build: Makes the service, or a `Replica` where Serve is to ask more of it. It is called in each replica.
            arguments: Of `build`. A deployment that is bound among them arrives as its handle.
            named: Likewise.
        """
        deployment = serve.deployment(name=self.name)(self.replica_class(build))
        return deployment.bind(*arguments, **named)


LANGUAGE_MODEL = ServiceDefinition(LanguageModelService, "LanguageModel")
EMBEDDINGS = ServiceDefinition(EmbeddingsService, "Embeddings")
RERANKER = ServiceDefinition(RerankerService, "Reranker")
SPEECH_TO_TEXT = ServiceDefinition(SpeechToTextService, "SpeechToText")
TEXT_TO_SPEECH = ServiceDefinition(TextToSpeechService, "TextToSpeech")
RETRIEVAL = ServiceDefinition(RetrievalService, "Retrieval")
CHAT = ServiceDefinition(ChatService, "Chat")
INGESTION = ServiceDefinition(IngestionService, "Ingestion")
TRANSCRIPTION = ServiceDefinition(TranscriptionService, "Transcription")
SPEECH = ServiceDefinition(SpeechService, "Speech")
VOICE = ServiceDefinition(VoiceService, "Voice")
PIPELINES = ServiceDefinition(PipelinesService, "Pipelines")
