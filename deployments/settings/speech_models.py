"""The settings of the speech applications: speech to text, and text to speech."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from deployments.settings.base import Settings
from deployments.settings.deployed import HandleSettings, LLMServerSettings
from deployments.settings.model_servers import ModelServerSettings

ComputeType = Literal[
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
    "auto",
    "default",
]


class WhisperSettings(Settings):
    """Whisper models in process, by CTranslate2.

    Attributes:
        model: For final transcripts: a name in the model manifest, or the path of a folder.
        partial_model: For partial transcripts, while somebody speaks; empty for the same model. One that knows only
            English is used where English is spoken.
        device: "cpu" or "cuda".
        compute_type: Of CTranslate2: "int8" on a CPU, "float16" or "int8_float16" on a card; "auto" takes the fastest
            that the device has, "default" what the model was saved in. One that the device does not have is refused.
        threads: Threads of one batch on a CPU; each of the two models has its own.
        batch_size: Utterances decoded together.
        language: ISO 639-1 code that is assumed where the detected language is not sure.
    """

    kind: Literal["whisper"]
    model: str = "whisper-base"
    partial_model: str = "whisper-tiny.en"
    device: Literal["cpu", "cuda"] = "cpu"
    compute_type: ComputeType = "int8"
    threads: PositiveInt = 1
    batch_size: PositiveInt = 8
    language: str = "en"


class OnnxAsrSettings(Settings):
    """Parakeet, Canary, Whisper and other models in ONNX form, in process, by onnx-asr.

    Attributes:
        model: A name in the model manifest, or the path of a folder.
        architecture: As onnx-asr calls it, such as "nemo-conformer-tdt" (Parakeet) or "nemo-conformer-aed" (Canary);
            empty for what the folder's config.json says.
        quantization: Which of several versions of the files, such as "int8"; empty for the plain one.
        languages: ISO 639-1 codes that the model knows; the first is assumed where one has to be told.
        device: What runs the model.
        threads: Threads of one batch on a CPU.
        batch_size: Utterances decoded together.
    """

    kind: Literal["onnx-asr"]
    model: str
    architecture: str = ""
    quantization: str = ""
    languages: tuple[str, ...] = Field(default=("en",), min_length=1)
    # Sound has any length, and MIGraphX compiles a model anew for each.
    device: Literal["cpu", "cuda", "openvino:CPU", "openvino:GPU"] = "cpu"
    threads: PositiveInt = 1
    batch_size: PositiveInt = 8


class OpenAITranscriptionSettings(ModelServerSettings):
    """A model behind the OpenAI transcription API.

    Attributes:
        model: The model's name there; may stay empty where the server has only one.
        partial_model: The same for partial transcripts; empty for the same model.
        language: ISO 639-1 code that the server is told where a request names none; empty to let it find out.
    """

    kind: Literal["openai"]
    model: str = ""
    partial_model: str = ""
    language: str = ""


class SpeechToTextSettings(Settings):
    """The speech-to-text application.

    Attributes:
        engine: Hears the words.
        voice_activity: Model that finds speech in recordings: a name in the model manifest, or the path of Silero's
            ONNX file for 16 kHz.
        end_of_turn: Model that judges whether a speaker has finished: a name in the model manifest, or the path of a
            Smart Turn ONNX file; empty for none.
        max_recording_s: Longer audio files are refused. One CPU core takes 0.12 s for a second of speech.
    """

    engine: Annotated[
        WhisperSettings | OnnxAsrSettings | OpenAITranscriptionSettings | LLMServerSettings | HandleSettings,
        Field(discriminator="kind"),
    ]
    voice_activity: str = "silero-vad"
    end_of_turn: str = "smart-turn-v3.2"
    max_recording_s: PositiveFloat = 300.0


class HibariSettings(Settings):
    """Small English voices in process.

    Attributes:
        threads: Threads of the model.
    """

    kind: Literal["hibari"]
    threads: PositiveInt = 1


class KokoroSettings(Settings):
    """Kokoro's voices in process.

    Attributes:
        model: A name in the model manifest, or the path of a folder with the model, one .onnx file, and one file of
            voices, such as voices-v1.0.bin.
        voices: Names of the voices to offer, the default one first; none for all that speak a known language.
        language: What all voices are to speak, as espeak-ng calls it, such as "en-us"; empty for that of each voice.
        device: What runs the model.
        threads: Threads of the model on a CPU.
    """

    kind: Literal["kokoro"]
    model: str
    voices: tuple[str, ...] = ()
    language: str = ""
    # A sentence has any length, and MIGraphX compiles a model anew for each.
    device: Literal["cpu", "cuda", "openvino:CPU", "openvino:GPU"] = "cpu"
    threads: PositiveInt = 2


class PocketSettings(Settings):
    """Pocket TTS in process, on the CPU; it imitates the voice of `TTSRequest.speaker_wav_b64`.

    Attributes:
        model: A language of Pocket TTS, such as "english", whose files come from the model hub, or the path of a
            configuration, a .yaml file. The weights that imitate voices have to be asked for on the hub.
        voices: Names of its voices, or paths of files with one (sound, or .safetensors), the default one first.
        language: ISO 639-1 code of what the model speaks.
        quantize: Compute with 8 bits.
    """

    kind: Literal["pocket-tts"]
    model: str = "english"
    voices: tuple[str, ...] = Field(default=("alba",), min_length=1)
    language: str = "en"
    quantize: bool = False


class OpenAISpeechSettings(ModelServerSettings):
    """A voice model behind the OpenAI speech API.

    Attributes:
        model: The model's name there; may stay empty where the server has only one.
        voices: Names of its voices, the default one first; none to ask the server for them, and for "alloy" where it
            does not say.
        language: ISO 639-1 code of what they speak; empty where any.
        sample_rate: Samples a second of bare PCM, which the server is then asked for, unless a header tells another
            rate; 0 to ask for WAV. Some servers stream PCM alone.
        reference_field: Field of the request that takes a voice sample as base64 text, such as "ref_audio"; empty for
            a server that does not imitate voices.
    """

    kind: Literal["openai"]
    model: str = ""
    voices: tuple[str, ...] = ()
    language: str = ""
    sample_rate: NonNegativeInt = 0
    reference_field: str = ""


class CoquiSettings(ModelServerSettings):
    """A voice model behind a Coqui server.

    Attributes:
        speakers: Ids of its speakers, the default one first; an empty one where the model has a single speaker.
        language: `language_id` of requests that name none; empty for a model of one language.
        reference_field: Parameter that takes a voice sample as base64 text, such as "speaker_wav"; empty for a server
            that does not imitate voices.
    """

    kind: Literal["coqui"]
    speakers: tuple[str, ...] = Field(default=("",), min_length=1)
    language: str = ""
    reference_field: str = ""


class SpeechHandleSettings(HandleSettings):
    """A voice model in any other deployment.

    Attributes:
        voices: Names of its voices, the default one first.
        language: ISO 639-1 code of what they speak; empty where any.
        clones: Whether it imitates the voice of a sample that a request brings.
    """

    voices: tuple[str, ...] = Field(default=("default",), min_length=1)
    language: str = ""
    clones: bool = False


class TextToSpeechSettings(Settings):
    """The text-to-speech application.

    Attributes:
        engine: Speaks where no custom voice is named.
        voice: Name of the voice that speaks where a request names none; empty for the engine's first.
        voice_folder: Folder with a folder for each custom voice; empty for the folder of the models.
        max_loaded_voices: Custom voices kept in memory.
    """

    engine: Annotated[
        HibariSettings | KokoroSettings | PocketSettings | OpenAISpeechSettings | CoquiSettings | SpeechHandleSettings,
        Field(discriminator="kind"),
    ]
    voice: str = ""
    voice_folder: str = ""
    max_loaded_voices: PositiveInt = 4
