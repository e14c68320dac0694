"""Speech and the voices behind it, with an engine of a few lines."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from deployments.call import Call
from deployments.engines.protocols import TextToSpeechEngine
from deployments.engines.speaking.voice_folder import VoiceFiles, VoiceFolder
from deployments.errors import HearthError, InvalidRequestError, NotFoundError, PayloadTooLargeError, UnavailableError
from deployments.inference.text_to_speech import TextToSpeech
from deployments.speaking.speech import Speech
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo
from tests.refusals import refused

T = TypeVar("T")

PIPER: Mapping[str, Any] = {"audio": {"sample_rate": 22050}, "phoneme_id_map": {}, "language": {"code": "de_DE"}}


@dataclass
class Engine:
    """Says each sentence as its own letters."""

    voices: tuple[VoiceInfo, ...] = (VoiceInfo("heart", "en", "test"),)
    clones: bool = False
    opening_clause_pays: bool = False
    description: str = "test"
    is_remote: bool = False
    error: HearthError | None = None
    said: list[SpeechText] = field(default_factory=list[SpeechText])

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        if self.error:
            raise self.error
        self.said.append(sentence)
        yield SpokenChunk(sentence.text.encode("ascii", "ignore").strip(b"."), 16_000, sentence.text)

    async def check(self) -> None:
        if self.error:
            raise self.error

    async def close(self) -> None:
        """Hold nothing."""


def voice_folder(folder: Path, engine: Engine | None = None, *, max_loaded: int = 4) -> VoiceFolder:
    def load(files: VoiceFiles) -> Engine:
        made = engine or Engine()
        made.voices = (files.voice,)
        return made

    return VoiceFolder(folder, {"piper": load}, {"whisper-base"}, max_loaded=max_loaded)


def add_voice(folder: Path, name: str, config: object = PIPER, *, model: bool = True) -> None:
    (folder / name).mkdir(parents=True)
    if model:
        (folder / name / "voice.onnx").write_bytes(b"x")
    if config is not None:
        (folder / name / "voice.onnx.json").write_text(json.dumps(config))


async def said(service: Speech, text: SpeechText) -> list[str]:
    async with aclosing(service.say(Call.within(10), text)) as chunks:
        return [chunk.text async for chunk in chunks]


def speech(engine: Engine, folder: Path, default: str = "") -> Speech:
    return Speech(TextToSpeech(engine, voice_folder(folder), default), max_characters=100)


async def test_a_text_is_said_sentence_by_sentence(tmp_path: Path) -> None:
    service = speech(Engine(), tmp_path)
    assert await said(service, SpeechText("**One** here. Two there.")) == ["One here.", "Two there."]


async def test_signs_are_put_into_words_and_told_as_they_were_written(tmp_path: Path) -> None:
    engine = Engine()
    assert await said(speech(engine, tmp_path), SpeechText("It costs **€5**.")) == ["It costs €5."]
    assert [sentence.text for sentence in engine.said] == ["It costs five euros."]


async def test_signs_are_left_to_a_voice_of_another_language(tmp_path: Path) -> None:
    engine = Engine(voices=(VoiceInfo("anna", "de", "test"),))
    await said(speech(engine, tmp_path), SpeechText("Das kostet 5 €."))
    assert [sentence.text for sentence in engine.said] == ["Das kostet 5 €."]


async def test_what_is_speakable_is_not_read_as_markup_again(tmp_path: Path) -> None:
    text = SpeechText("Use <b> now.\n- not a list", is_speakable=True)
    assert await said(speech(Engine(voices=(VoiceInfo("anna", "de", "test"),)), tmp_path), text) == [
        "Use <b> now.",
        "- not a list",
    ]


@pytest.mark.parametrize(
    ("text", "kind", "field"),
    [
        (SpeechText(""), InvalidRequestError, "text"),
        (SpeechText("🙂"), InvalidRequestError, "text"),
        (SpeechText("你好"), InvalidRequestError, "text"),
        (SpeechText("a" * 101), PayloadTooLargeError, "text"),
        (SpeechText("hi", voice="nobody"), NotFoundError, "speaker"),
        (SpeechText("hi", voice="heart", language="de"), InvalidRequestError, "language"),
        (SpeechText("hi", language="fr"), InvalidRequestError, "language"),
        (SpeechText("hi", reference=b"RIFF"), InvalidRequestError, "speaker_wav_b64"),
    ],
)
async def test_what_cannot_be_said_is_refused_with_its_reason(
    tmp_path: Path, text: SpeechText, kind: type[HearthError], field: str
) -> None:
    add_voice(tmp_path, "anna")
    with refused(kind, field=field):
        await said(speech(Engine(), tmp_path), text)


async def test_who_names_an_unknown_voice_is_told_the_known_ones(tmp_path: Path) -> None:
    add_voice(tmp_path, "anna")
    with refused(NotFoundError, field="speaker") as raised:
        await said(speech(Engine(), tmp_path), SpeechText("hi", voice="nobody"))
    assert "heart, anna" in raised.value.message


async def test_a_reference_goes_to_an_engine_that_imitates_it(tmp_path: Path) -> None:
    engine = Engine(clones=True)
    await said(speech(engine, tmp_path), SpeechText("hi", reference=b"RIFF"))
    assert engine.said[0].reference == b"RIFF"


async def test_what_an_engine_raises_passes(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        await said(speech(Engine(error=UnavailableError("away")), tmp_path), SpeechText("hi"))


async def test_a_voice_that_was_just_put_there_speaks(tmp_path: Path) -> None:
    service = speech(Engine(), tmp_path)
    await said(service, SpeechText("hi"))
    add_voice(tmp_path, "anna")
    assert await said(service, SpeechText("hi", voice="anna")) == ["hi."]


async def test_the_language_chooses_a_voice_that_speaks_it(tmp_path: Path) -> None:
    add_voice(tmp_path, "anna")
    spoken = Engine()
    service = Speech(TextToSpeech(Engine(), voice_folder(tmp_path, spoken)), max_characters=100)
    await said(service, SpeechText("hallo", language="de-DE"))
    assert [text.voice for text in spoken.said] == ["anna"]


async def test_voices_are_the_folders_as_they_are_now(tmp_path: Path) -> None:
    add_voice(tmp_path, "anna")
    add_voice(tmp_path, "bert", {**PIPER, "language": {"code": "en_US"}})
    service = speech(Engine(), tmp_path, default="bert")
    listed = await service.voices(Call.within(10), False)
    assert (listed.default, listed.names) == ("bert", ("heart", "anna", "bert"))
    assert [(voice.language, voice.kind) for voice in listed.custom] == [("de", "piper"), ("en", "piper")]
    assert listed.custom[0].created_at.endswith("Z")
    (tmp_path / "anna" / "voice.onnx").unlink()
    (tmp_path / "anna" / "voice.onnx.json").unlink()
    assert (await service.voices(Call.within(10), False)).names == ("heart", "anna", "bert")
    assert (await service.voices(Call.within(10), True)).names == ("heart", "bert")


@pytest.mark.parametrize(
    ("config", "model", "fault"),
    [
        (None, True, "no configuration"),
        ({"sample_rate": 1}, True, "neither a Piper voice nor a VITS model"),
        ([1], True, "not a JSON object"),
    ],
)
def test_a_broken_folder_is_reported_and_skipped(tmp_path: Path, config: object, fault: str, *, model: bool) -> None:
    add_voice(tmp_path, "broken", config, model=model)
    add_voice(tmp_path, "anna")
    folder = voice_folder(tmp_path)
    folder.scan()
    assert [voice.name for voice in folder.voices] == ["anna"]
    assert len(folder.faults) == 1
    assert folder.faults[0].startswith("broken: ")
    assert fault in folder.faults[0]


def test_a_configuration_without_a_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text(json.dumps(PIPER))
    folder = voice_folder(tmp_path)
    folder.scan()
    assert "no model" in folder.faults[0]


def test_other_models_in_the_folder_are_no_voices(tmp_path: Path) -> None:
    add_voice(tmp_path, "whisper-base", None)
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "model.gguf").write_bytes(b"x")
    folder = voice_folder(tmp_path)
    folder.scan()
    assert (folder.voices, folder.faults) == ((), ())


def test_only_so_many_voices_stay_loaded(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        add_voice(tmp_path, name)
    folder = voice_folder(tmp_path, max_loaded=2)
    folder.scan()
    first = folder.engine("a")
    assert folder.engine("a") is first
    folder.engine("b")
    folder.engine("c")
    assert folder.engine("a") is not first


async def test_the_status_tells_of_custom_voices(tmp_path: Path) -> None:
    add_voice(tmp_path, "anna")
    service = TextToSpeech(cast("Any", Engine()), voice_folder(tmp_path))
    await service.voices(Call.within(10), True)
    assert (await service.status(Call.within(10))).detail == "test, 1 custom voices"


class SlowFolder(VoiceFolder):
    """Remembers what it was asked for, and how much of that at once."""

    busy: int = 0
    most_busy: int = 0
    scans: int = 0
    loads: int = 0

    def scan(self) -> None:
        self.scans += 1
        self._work(super().scan)

    def _load(self, files: VoiceFiles) -> TextToSpeechEngine:
        self.loads += 1
        return self._work(lambda: super(SlowFolder, self)._load(files))

    def _work(self, work: Callable[[], T]) -> T:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            # Long enough for another thread to come in between.
            time.sleep(0.01)
            return work()
        finally:
            self.busy -= 1


def slow_folder(folder: Path) -> SlowFolder:
    return SlowFolder(folder, {"piper": lambda files: Engine(voices=(files.voice,))}, set())


async def test_voices_that_are_asked_for_at_once_are_loaded_one_after_the_other_and_once(tmp_path: Path) -> None:
    for name in ("ada", "bo", "cy"):
        add_voice(tmp_path, name)
    folder = slow_folder(tmp_path)
    service = Speech(TextToSpeech(Engine(), folder), max_characters=100)
    names = ["ada", "bo", "cy"] * 20
    texts = await asyncio.gather(*(said(service, SpeechText("Guten Tag.", name)) for name in names))
    assert texts == [["Guten Tag."]] * 60
    assert (folder.loads, folder.most_busy) == (3, 1)


async def test_many_who_ask_for_the_voices_anew_share_a_look_at_the_folder(tmp_path: Path) -> None:
    folder = slow_folder(tmp_path)
    service = Speech(TextToSpeech(Engine(), folder), max_characters=100)
    add_voice(tmp_path, "ada")
    found = await asyncio.gather(*(service.voices(Call.within(10), rescan=True) for _ in range(1000)))
    assert {len(voices.custom) for voices in found} == {1}
    assert folder.scans <= 2
    # Each of them is told of what was there when it asked.
    add_voice(tmp_path, "bo")
    assert len((await service.voices(Call.within(10), rescan=True)).custom) == 2


async def test_many_unknown_voices_share_a_look_at_the_folder_and_known_ones_do_not_wait(tmp_path: Path) -> None:
    add_voice(tmp_path, "ada")
    folder = slow_folder(tmp_path)
    service = Speech(TextToSpeech(Engine(), folder), max_characters=100)
    await said(service, SpeechText("Guten Tag.", "ada"))
    before = folder.scans
    unknown = [asyncio.create_task(said(service, SpeechText("Hi.", f"v{number}"))) for number in range(200)]
    assert await said(service, SpeechText("Guten Tag.", "ada")) == ["Guten Tag."]
    assert not any(task.done() for task in unknown)
    errors = await asyncio.gather(*unknown, return_exceptions=True)
    assert {type(error) for error in errors} == {NotFoundError}
    assert folder.scans - before <= 2


class ServedEngine(Engine):
    """Its server does not say which voices it has."""

    remaining_s: float = 0.0

    async def ask_voices(self, call: Call) -> None:
        self.remaining_s = call.remaining()
        raise UnavailableError("no answer")


async def test_a_server_that_does_not_say_which_voices_it_has_holds_up_speech_for_seconds_at_most(
    tmp_path: Path,
) -> None:
    engine = ServedEngine()
    service = Speech(TextToSpeech(engine, voice_folder(tmp_path)), max_characters=100)
    async with aclosing(service.say(Call.within(60), SpeechText("Hello."))) as chunks:
        assert [chunk.text async for chunk in chunks] == ["Hello."]
    assert 0 < engine.remaining_s <= 5
