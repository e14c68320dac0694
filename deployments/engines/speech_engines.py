"""From settings to the engines of speech. A library is imported only where its engine is chosen."""

from pathlib import Path

from deployments.engines.adapter_protocols import load_adapter
from deployments.engines.protocols import AudioDecoder, EndOfTurnEngine, SpeechToTextEngine, TextToSpeechEngine
from deployments.engines.speaking.voice_folder import VoiceFiles, VoiceFolder
from deployments.engines.text_engines import FindDeployed, bound, library_required, llm_server, model_server
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from deployments.settings.deployed import HandleSettings, LLMServerSettings
from deployments.settings.speech_models import (
    CoquiSettings,
    HibariSettings,
    KokoroSettings,
    OnnxAsrSettings,
    OpenAISpeechSettings,
    OpenAITranscriptionSettings,
    PocketSettings,
    SpeechHandleSettings,
    SpeechToTextSettings,
    TextToSpeechSettings,
    WhisperSettings,
)

_ONNX = "model.onnx"
_VOICE = "voice"
_TRANSCRIPTION = "transcription server"
_SPEECH = "speech server"


def speech_to_text_engine(settings: SpeechToTextSettings, find: FindDeployed) -> SpeechToTextEngine:
    """Load the speech-to-text model that the settings name.

    Args:
        settings: Of the application.
        find: Gives the deployment of the cluster that they may name.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case WhisperSettings() as engine:
            library_required("ctranslate2", "whisper")
            from deployments.engines.hearing.whisper import WhisperEngine  # noqa: PLC0415

            store = ModelStore.from_environment()
            return WhisperEngine(
                store.locate(engine.model, "speech-to-text"),
                store.locate(engine.partial_model, "speech-to-text-partial") if engine.partial_model else None,
                device=engine.device,
                compute_type=engine.compute_type,
                threads=engine.threads,
                batch_size=engine.batch_size,
                language=engine.language,
            )
        case OnnxAsrSettings() as engine:
            library_required("onnx_asr", "onnx-asr")
            from deployments.engines.hearing.onnx_asr_model import OnnxAsrEngine  # noqa: PLC0415

            return OnnxAsrEngine(
                ModelStore.from_environment().locate(engine.model, "speech-to-text"),
                architecture=engine.architecture,
                quantization=engine.quantization,
                languages=engine.languages,
                device=engine.device,
                threads=engine.threads,
                batch_size=engine.batch_size,
            )
        case OpenAITranscriptionSettings() as engine:
            from deployments.engines.hearing.openai_transcription import OpenAITranscription  # noqa: PLC0415

            server = model_server(engine, _TRANSCRIPTION)
            return OpenAITranscription(
                server, model=engine.model, partial_model=engine.partial_model, language=engine.language
            )
        case LLMServerSettings() as engine:
            from deployments.engines.hearing.llm_server_transcription import LLMServerTranscription  # noqa: PLC0415

            return LLMServerTranscription(llm_server(engine, find, _TRANSCRIPTION))
        case HandleSettings() as engine:
            from deployments.engines.hearing.deployed_transcription import DeployedTranscription  # noqa: PLC0415

            adapter = load_adapter(engine.adapter, engine.arguments, "text")
            return DeployedTranscription(bound(engine, adapter, find, _TRANSCRIPTION), adapter)


def voice_activity_engine(model: str) -> VoiceActivityEngine:
    """Load a voice activity model, by its name in the manifest or its path.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    library_required("onnxruntime", "voice-activity")
    from deployments.engines.hearing.silero import SileroVoiceActivity  # noqa: PLC0415

    return SileroVoiceActivity(_onnx_file(model, "voice-activity"))


def end_of_turn_engine(model: str) -> EndOfTurnEngine | None:
    """Load a model that judges the end of a turn, by its name in the manifest or its path; none for no name.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    if not model:
        return None
    library_required("onnxruntime", "voice-activity")
    from deployments.engines.hearing.smart_turn import SmartTurn  # noqa: PLC0415

    return SmartTurn(_onnx_file(model, "end-of-turn"))


def audio_decoder() -> AudioDecoder:
    """Return what decodes audio files.

    Raises:
        UnavailableError: Its library is not installed.
    """
    library_required("soundfile", "whisper")
    from deployments.engines.audio_file import decode  # noqa: PLC0415

    return decode


def text_to_speech_engine(settings: TextToSpeechSettings, find: FindDeployed) -> TextToSpeechEngine:
    """Load the text-to-speech model that the settings name; see `speech_to_text_engine`.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case HibariSettings() as engine:
            library_required("hibari", "hibari")
            from deployments.engines.speaking.hibari_speech import HibariSpeech  # noqa: PLC0415

            return HibariSpeech(threads=engine.threads)
        case KokoroSettings() as engine:
            library_required("kokoro_onnx", "kokoro")
            from deployments.engines.speaking.kokoro_speech import KokoroSpeech  # noqa: PLC0415

            return KokoroSpeech(
                ModelStore.from_environment().locate(engine.model, "text-to-speech"),
                voices=engine.voices,
                language=engine.language,
                device=engine.device,
                threads=engine.threads,
            )
        case PocketSettings() as engine:
            library_required("pocket_tts", "pocket-tts")
            library_required("soundfile", "whisper")
            from deployments.engines.speaking.pocket_model import PocketModel  # noqa: PLC0415
            from deployments.engines.speaking.pocket_speech import PocketSpeech  # noqa: PLC0415

            return PocketSpeech(
                PocketModel(engine.model, quantize=engine.quantize),
                name=Path(engine.model).stem,
                voices=engine.voices,
                language=engine.language,
            )
        case OpenAISpeechSettings() as engine:
            library_required("soundfile", "whisper")
            from deployments.engines.speaking.http_speech import OpenAISpeech  # noqa: PLC0415

            return OpenAISpeech(
                model_server(engine, _SPEECH, takes_client_input=True),
                model=engine.model,
                voices=engine.voices,
                language=engine.language,
                reference_field=engine.reference_field,
                sample_rate=engine.sample_rate,
            )
        case CoquiSettings() as engine:
            library_required("soundfile", "whisper")
            from deployments.engines.speaking.http_speech import CoquiSpeech  # noqa: PLC0415

            return CoquiSpeech(
                model_server(engine, _SPEECH, takes_client_input=True),
                speakers=engine.speakers,
                language=engine.language,
                reference_field=engine.reference_field,
            )
        case SpeechHandleSettings() as engine:
            library_required("soundfile", "whisper")
            from deployments.engines.speaking.deployed_speech import DeployedSpeech  # noqa: PLC0415

            adapter = load_adapter(engine.adapter, engine.arguments, "sound")
            return DeployedSpeech(
                bound(engine, adapter, find, _SPEECH),
                adapter,
                voices=engine.voices,
                language=engine.language,
                clones=engine.clones,
            )


def voice_folder(settings: TextToSpeechSettings) -> VoiceFolder:
    """Return the custom voices that the settings name; none is loaded yet."""
    folder = Path(settings.voice_folder) if settings.voice_folder else ModelStore.from_environment().folder
    loaders = {"piper": _piper_voice, "vits": _vits_voice}
    not_voices = [model.name for model in Manifest.load().models.values() if model.role != _VOICE]
    return VoiceFolder(folder, loaders, not_voices, max_loaded=settings.max_loaded_voices)


def _piper_voice(files: VoiceFiles) -> TextToSpeechEngine:
    library_required("piper", "piper")
    from deployments.engines.speaking.piper_speech import PiperSpeech  # noqa: PLC0415

    return PiperSpeech(files)


def _vits_voice(files: VoiceFiles) -> TextToSpeechEngine:
    library_required("onnxruntime", "onnx")
    from deployments.engines.speaking.vits_speech import VitsSpeech  # noqa: PLC0415

    return VitsSpeech(files)


def _onnx_file(model: str, role: str) -> Path:
    return ModelStore.from_environment().locate_file(model, role, _ONNX)
