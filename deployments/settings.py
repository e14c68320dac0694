"""The typed configuration: what `serve_config.yaml` gives as `args`, with the environment over it.

Unknown keys are refused, so a misspelt setting fails the deployment with its name. Where the system that Hearth
replaces took a value from the environment, so does Hearth, under the same name; the environment wins, because
that is how one file serves many machines.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from deployments.audio_settings import AudioSettings, SpeechOutputSettings
from deployments.pipeline_settings import PipelinesSettings
from deployments.prompt import introduction
from deployments.settings_base import Settings
from deployments.values import Answering, Exchange, Generation

_MILVUS_PORT = "19530"


class LlamaCppSettings(Settings):
    """A GGUF model in process.

    Attributes:
        model: A name in the model manifest, or the path of a .gguf file.
        context_tokens: Context window of each slot, prompt and answer together.
        parallel: Answers generated at once; further ones wait inside llama.cpp.
        threads: Threads that generate tokens; on two cores a second one gains hardly anything.
        threads_batch: Threads that read prompts.
        gpu_layers: Layers to put on an accelerator.
        cache_mib: Memory, in MiB, for prompts that were read and have lost their slot to another one; 0 for none.
    """

    kind: Literal["llama-cpp"]
    model: str
    context_tokens: PositiveInt = 2048
    parallel: PositiveInt = 4
    threads: PositiveInt = 1
    threads_batch: PositiveInt = 2
    gpu_layers: int = 0
    cache_mib: NonNegativeInt = 256


class OpenAIChatSettings(Settings):
    """A model behind the OpenAI chat completions API.

    Attributes:
        base_url: Of the server, with or without "/v1".
        model: The model's name there.
        context_tokens: The model's context window.
        api_key_variable: Environment variable that holds the API key, where the server asks for one.
    """

    kind: Literal["openai"]
    base_url: str
    model: str
    context_tokens: PositiveInt
    api_key_variable: str = ""


class ExampleSettings(Settings):
    """A worked example in the prompt."""

    passage: str
    question: str
    answer: str


class GreetingSettings(Settings):
    """A worked greeting in the prompt."""

    name: str
    greeting: str


class AnsweringSettings(Settings):
    """How chat is to use the model: the crutches that a small one needs and a large one does not.

    Attributes:
        system_prompt: The default system prompt; `ChatRequest.system_prompt` replaces it.
        passages: Of the kept passages, how many the model is shown.
        examples: Worked examples before the question, when passages are shown.
        check_sentences: Hold each sentence of an answer against its passages before its tokens are released, and
            quote the passage where a sentence does not stand in it.
        max_tokens: Tokens of an answer at most.
        temperature: 0 takes the likeliest token each time.
        greeting_prompt: The system prompt for a greeting.
        greetings: Worked greetings before the name.
        history: Earlier turns that the model is shown where it answers alone.
        history_with_passages: The same where it is shown passages; a follow-up question is resolved without them too.
    """

    system_prompt: str = "You are a helpful assistant. Answer briefly and to the point."
    passages: PositiveInt = 5
    examples: tuple[ExampleSettings, ...] = ()
    check_sentences: bool = False
    max_tokens: PositiveInt = 512
    temperature: float = Field(default=0.2, ge=0.0, le=2.0)
    greeting_prompt: str = "You greet people by name, in one short and friendly sentence."
    greetings: tuple[GreetingSettings, ...] = ()
    history: NonNegativeInt = 4
    history_with_passages: NonNegativeInt = 4

    def to_value(self) -> Answering:
        return Answering(
            system_prompt=self.system_prompt,
            passages=self.passages,
            examples=tuple(Exchange(example.question, example.answer, (example.passage,)) for example in self.examples),
            check_sentences=self.check_sentences,
            generation=Generation(max_tokens=self.max_tokens, temperature=self.temperature),
            greeting_prompt=self.greeting_prompt,
            greetings=tuple(Exchange(introduction(one.name), one.greeting) for one in self.greetings),
            history=self.history,
            history_with_passages=self.history_with_passages,
        )


class LanguageModelSettings(Settings):
    """The language-model application."""

    engine: Annotated[LlamaCppSettings | OpenAIChatSettings, Field(discriminator="kind")]


class LanguageModelUserConfig(Settings):
    """What may change without loading the model again: the `user_config` of the LanguageModel deployment."""

    answering: AnsweringSettings = AnsweringSettings()


class OnnxEmbeddingsSettings(Settings):
    """Embeddings by an ONNX encoder in process.

    Attributes:
        model: A name in the model manifest, or the path of a folder with model.onnx and tokenizer.json.
        threads: Batches that run at once, each on a thread.
        max_tokens: Texts are cut to this many tokens.
    """

    kind: Literal["onnx"]
    model: str
    threads: PositiveInt = 2
    max_tokens: PositiveInt = 256


class OpenAIEmbeddingsSettings(Settings):
    """Embeddings behind the OpenAI embeddings API; see `OpenAIChatSettings`."""

    kind: Literal["openai"]
    base_url: str
    model: str
    api_key_variable: str = ""


class EmbeddingsSettings(Settings):
    """The embeddings application."""

    engine: Annotated[OnnxEmbeddingsSettings | OpenAIEmbeddingsSettings, Field(discriminator="kind")]


class LateInteractionSettings(Settings):
    """Reranking by late interaction over the token vectors of an embeddings model.

    Attributes:
        model: The embeddings model.
        threads: Batches that run at once, each on a thread.
        max_tokens: Texts are cut to this many tokens.
        token_weight: Share of the token score in the blend; the rest is the sentence score.
        cache_bytes: Token vectors kept for passages seen before.
    """

    kind: Literal["late-interaction"]
    model: str
    threads: PositiveInt = 2
    max_tokens: PositiveInt = 256
    token_weight: float = Field(default=0.65, ge=0.0, le=1.0)
    cache_bytes: PositiveInt = 128 << 20


class CrossEncoderSettings(Settings):
    """Reranking by a cross-encoder in ONNX form; see `OnnxEmbeddingsSettings`."""

    kind: Literal["cross-encoder"]
    model: str
    threads: PositiveInt = 2
    max_tokens: PositiveInt = 512


class RerankApiSettings(Settings):
    """A reranker behind the rerank API; `model` may stay empty where the server has only one."""

    kind: Literal["rerank-api"]
    base_url: str
    model: str = ""
    api_key_variable: str = ""


class RerankerSettings(Settings):
    """The reranker application."""

    engine: Annotated[LateInteractionSettings | CrossEncoderSettings | RerankApiSettings, Field(discriminator="kind")]


class MilvusSettings(Settings):
    """Where Milvus is, and how it is searched.

    Attributes:
        uri: Of the server. `MILVUS_HOST` (a host, a host:port or a URI) and `MILVUS_PORT` go over it.
        token_variable: Environment variable that holds "user:password" or an API key.
        collection: Searched and written where a request names none. `COLLECTION_NAME` goes over it.
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
    collection: str = "knowledge_base"
    retrieve: PositiveInt = 20
    keep: PositiveInt = 5
    max_keep: PositiveInt = 50
    passage_characters: PositiveInt = 2000
    keyword_weight: float = Field(default=0.4, ge=0.0, le=1.0)


class NatsSettings(Settings):
    """Where NATS is, and how requests are taken from it.

    Attributes:
        url: One server, or several separated by commas. `NATS_URL` goes over it.
        queue_group: Shared by all replicas that take requests, so that each request goes to one of them.
        max_in_flight: Requests worked on at once by one ingress replica.
        max_waiting: Requests that wait for their turn; further ones are refused as overloaded.
        max_wait_s: Seconds that a request waits for its turn at most; then it is refused as overloaded too.
        request_timeout_s: Time that a request has from its arrival to its final answer.
        ingest_timeout_s: The same for an ingested document.
        log_text: Write what users ask and are answered into the log, too.
    """

    url: str = "nats://127.0.0.1:4222"
    queue_group: str = "hearth"
    max_in_flight: PositiveInt = 64
    max_waiting: PositiveInt = 256
    max_wait_s: PositiveFloat = 10.0
    request_timeout_s: PositiveFloat = 60.0
    ingest_timeout_s: PositiveFloat = 300.0
    log_text: bool = False


class HealthSettings(Settings):
    """Where the ingress answers `/health` and `/ready` over HTTP.

    Attributes:
        host: Address to listen on. `HEARTH_HEALTH_HOST` goes over it.
        port: 0 for none. One that is taken is a warning, so that several replicas may share a node.
    """

    host: str = "127.0.0.1"
    port: NonNegativeInt = Field(default=0, le=65535)


class MemorySettings(Settings):
    """What is remembered of each user's conversation, in a NATS key-value bucket.

    Attributes:
        enabled: Off, every question stands for itself.
        bucket: Its name. Made where it is not there; needs JetStream.
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


class TurnRecordSettings(Settings):
    """Where the records of spoken turns are kept, besides being published.

    Attributes:
        file: Each record is appended to it as a line of JSON, on the machine of the ingress; empty for no file.
            `HEARTH_TURNS` goes over it. What was said is in it only with `nats.log_text`.
        max_bytes: A larger file is renamed to FILE.1, over the one before.
    """

    file: str = ""
    max_bytes: PositiveInt = 10_000_000


class OrchestrationSettings(Settings):
    """The orchestration application.

    Attributes:
        language_model: Name of the Serve application that holds the language model.
        embeddings: Likewise for embeddings.
        reranker: Likewise for the reranker.
        audio: How live audio is listened to.
        speech: How things are said.
        turns: Where the records of spoken turns are kept.
        pipelines: What may be started on workflow engines, and where these are.
        speech_to_text: Name of the application, as for the language model.
        text_to_speech: Likewise.
        in_process: Services that run in the replica of their caller (of an ingress, or of Chat in the case of
            Retrieval) and not as deployments of their own: fewer hops and less memory, against being seen, scaled and
            restarted apart. The application's `deployments` must not list them.
    """

    nats: NatsSettings = NatsSettings()
    milvus: MilvusSettings = MilvusSettings()
    memory: MemorySettings = MemorySettings()
    health: HealthSettings = HealthSettings()
    audio: AudioSettings = AudioSettings()
    speech: SpeechOutputSettings = SpeechOutputSettings()
    turns: TurnRecordSettings = TurnRecordSettings()
    pipelines: PipelinesSettings = PipelinesSettings()
    language_model: str = "language-model"
    embeddings: str = "embeddings"
    reranker: str = "reranker"
    speech_to_text: str = "speech-to-text"
    text_to_speech: str = "text-to-speech"
    in_process: tuple[Literal["Chat", "Retrieval", "Ingestion", "Transcription", "Speech", "Voice"], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _environment_goes_over(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return with_environment(cast("dict[str, Any]", given), os.environ)


def with_environment(given: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return orchestration arguments with the environment's values over them."""
    nats = dict(given.get("nats") or {})
    milvus = dict(given.get("milvus") or {})
    if url := environment.get("NATS_URL"):
        nats["url"] = url
    if host := environment.get("MILVUS_HOST"):
        milvus["uri"] = milvus_uri(host, environment.get("MILVUS_PORT", ""))
    if collection := environment.get("COLLECTION_NAME"):
        milvus["collection"] = collection
    health = dict(given.get("health") or {})
    if health_host := environment.get("HEARTH_HEALTH_HOST"):
        health["host"] = health_host
    turns = dict(given.get("turns") or {})
    if file := environment.get("HEARTH_TURNS"):
        turns["file"] = file
    pipelines = _pipelines_with_environment(dict(given.get("pipelines") or {}), environment)
    return {**given, "nats": nats, "milvus": milvus, "health": health, "turns": turns, "pipelines": pipelines}


def _pipelines_with_environment(pipelines: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    argo: dict[str, Any] = {"kind": "argo-server", **(pipelines.get("argo") or {})}
    kubeflow = dict(pipelines.get("kubeflow") or {})
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
