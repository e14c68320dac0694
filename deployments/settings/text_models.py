"""The settings of the text models: language model, embeddings, reranker, and how answers are to be."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from deployments.settings.base import Settings
from deployments.settings.deployed import HandleSettings, LLMServerSettings
from deployments.settings.model_servers import ModelServerSettings
from deployments.values.devices import OnnxDevice
from deployments.values.language import Answering, Exchange, Generation, Reasoning, ReasoningEffort, introduction


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


class OpenAIChatSettings(ModelServerSettings):
    """A model behind the OpenAI chat completions API.

    Attributes:
        model: The model's name there.
        context_tokens: The model's context window.
    """

    kind: Literal["openai"]
    model: str
    context_tokens: PositiveInt


class LLMServerChatSettings(LLMServerSettings):
    """A language model of `ray.serve.llm`.

    Attributes:
        context_tokens: The model's context window.
    """

    context_tokens: PositiveInt


class ChatHandleSettings(HandleSettings):
    """A language model in any other deployment.

    Attributes:
        context_tokens: The model's context window.
    """

    context_tokens: PositiveInt


class ExampleSettings(Settings):
    """A worked example in the prompt."""

    passage: str
    question: str
    answer: str


class GreetingSettings(Settings):
    """A worked greeting in the prompt."""

    name: str
    greeting: str


class ReasoningSettings(Settings):
    """How a model that thinks before it answers is used. No thought is ever shown, spoken or remembered.

    Attributes:
        effort: How much the model is to think before an answer that is read: "none", "low", "medium" or "high". Not
            set, the model does as it likes.
        spoken_effort: The same before an answer that is heard. Before a greeting it never thinks.
        budget_tokens: Tokens of thought after which the model is to answer, where its server can do that.
        thoughts: "kept": they are written into the log of the language model. "dropped": they are only counted.
        starts_inside: Whether the model's template opens the thought, so that an answer begins inside it. Not set,
            that is asked of the model where it can tell, else of its name and its first answers.
    """

    effort: ReasoningEffort | None = None
    spoken_effort: ReasoningEffort | None = ReasoningEffort.NONE
    budget_tokens: PositiveInt | None = None
    thoughts: Literal["dropped", "kept"] = "dropped"
    starts_inside: bool | None = None

    def to_value(self) -> Reasoning:
        return Reasoning(
            effort=self.effort,
            spoken_effort=self.spoken_effort,
            budget_tokens=self.budget_tokens,
            keeps_thoughts=self.thoughts == "kept",
            starts_inside=self.starts_inside,
        )


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
        reasoning: How much it thinks before it answers.
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
    reasoning: ReasoningSettings = ReasoningSettings()

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
            reasoning=self.reasoning.to_value(),
        )


class LanguageModelSettings(Settings):
    """The language-model application."""

    engine: Annotated[
        LlamaCppSettings | OpenAIChatSettings | LLMServerChatSettings | ChatHandleSettings, Field(discriminator="kind")
    ]


class LanguageModelUserConfig(Settings):
    """What may change without loading the model again: the `user_config` of the LanguageModel deployment."""

    answering: AnsweringSettings = AnsweringSettings()


class OnnxEmbeddingsSettings(Settings):
    """Embeddings by an ONNX encoder in process.

    Attributes:
        model: A name in the model manifest, or the path of a folder with model.onnx and tokenizer.json.
        device: What runs the model.
        pooling: How a text's vector is made of those of its tokens, as the model was trained: "mean" of all, or "cls",
            the first one.
        threads: Batches that run at once, each on a thread; on an accelerator one is enough.
        max_tokens: Texts are cut to this many tokens.
        batch_tokens: Padded tokens in one batch at most; an accelerator wants many.
    """

    kind: Literal["onnx"]
    model: str
    device: OnnxDevice = "cpu"
    pooling: Literal["mean", "cls"] = "mean"
    threads: PositiveInt = 2
    max_tokens: PositiveInt = 256
    batch_tokens: PositiveInt = 1024


class OpenAIEmbeddingsSettings(ModelServerSettings):
    """Embeddings behind the OpenAI embeddings API; see `OpenAIChatSettings`."""

    kind: Literal["openai"]
    model: str


class TeiSettings(ModelServerSettings):
    """The model of a text-embeddings-inference server, by its own API.

    Attributes:
        batch_size: Texts in one request; the server takes no more than its `--max-client-batch-size`.
    """

    kind: Literal["tei"]
    batch_size: PositiveInt = 32


class LateInteractionSettings(Settings):
    """Reranking by late interaction over the token vectors of an embeddings model.

    Attributes:
        model: The embeddings model.
        device: What runs the model.
        threads: Batches that run at once, each on a thread; on an accelerator one is enough.
        max_tokens: Texts are cut to this many tokens.
        token_weight: Share of the token score in the blend; the rest is the sentence score.
        cache_bytes: Token vectors kept for passages seen before, in bytes: some 6,000 passages of 400 characters.
    """

    kind: Literal["late-interaction"]
    model: str
    device: OnnxDevice = "cpu"
    threads: PositiveInt = 2
    max_tokens: PositiveInt = 256
    token_weight: float = Field(default=0.65, ge=0.0, le=1.0)
    cache_bytes: PositiveInt = 256 << 20


class CrossEncoderSettings(Settings):
    """Reranking by a cross-encoder in ONNX form; see `OnnxEmbeddingsSettings`."""

    kind: Literal["cross-encoder"]
    model: str
    device: OnnxDevice = "cpu"
    threads: PositiveInt = 2
    max_tokens: PositiveInt = 512
    batch_tokens: PositiveInt = 2048


class RerankApiSettings(ModelServerSettings):
    """A reranker behind the rerank API; `model` may stay empty where the server has only one."""

    kind: Literal["rerank-api"]
    model: str = ""


class RerankerSettings(Settings):
    """The reranker application."""

    engine: Annotated[
        LateInteractionSettings
        | CrossEncoderSettings
        | RerankApiSettings
        | TeiSettings
        | LLMServerSettings
        | HandleSettings,
        Field(discriminator="kind"),
    ]


class EmbeddingsSettings(Settings):
    """The embeddings application.

    Attributes:
        reranker: A reranker to run in the same replicas. An engine `late-interaction` with the model, device, threads
            and max_tokens of an engine `onnx` shares its model, where that one's `pooling` is "mean".
    """

    engine: Annotated[
        OnnxEmbeddingsSettings | OpenAIEmbeddingsSettings | TeiSettings | LLMServerSettings | HandleSettings,
        Field(discriminator="kind"),
    ]
    reranker: RerankerSettings | None = None

    def one_model(self) -> tuple[OnnxEmbeddingsSettings, LateInteractionSettings] | None:
        """Return the two engines where one loaded model does for both; else None.

        Late interaction takes the mean of the token vectors for the sentence, so embeddings of another kind are apart.
        """
        engine, reranker = self.engine, self.reranker.engine if self.reranker else None
        if not isinstance(engine, OnnxEmbeddingsSettings) or not isinstance(reranker, LateInteractionSettings):
            return None
        is_same = (engine.model, engine.device, engine.threads, engine.max_tokens) == (
            reranker.model,
            reranker.device,
            reranker.threads,
            reranker.max_tokens,
        )
        return (engine, reranker) if is_same and engine.pooling == "mean" else None
