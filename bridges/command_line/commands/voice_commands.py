"""The commands that speak with Hearth: `ask`, `talk`, `turn`."""

import asyncio
import io
import sys
import wave
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from textwrap import shorten
from uuid import uuid4

import click
from nats.aio.msg import Msg

from bridges.command_line.client import NatsServer, connected, decoded
from bridges.command_line.commands.asking import citation_as_json, citation_text
from bridges.command_line.commands.options import (
    chosen_server,
    collection_option,
    finite,
    json_option,
    language_option,
    nats_option,
    timeout_option,
    voice_option,
)
from bridges.command_line.console import assembled, console, errors, print_line, styled, write_json
from bridges.command_line.local import state
from bridges.command_line.sound.playing import Player
from bridges.command_line.sound.saying import Said, say, unheard, write_wav
from bridges.command_line.sound.sound_device import has_loudspeaker, has_microphone, loudspeaker, microphone, speaker
from bridges.command_line.sound.talk_printer import TalkPrinter
from bridges.command_line.sound.talking import CHUNK_S, Cues, Microphone, Talked, recordings, talk
from bridges.command_line.sound.transcribe_client import opened_recording, stop_on_interrupt
from bridges.command_line.sound.waterfall import last_turns, show_turn
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.sessions.turn_log import record_as_dict
from bridges.subjects import CONVERSATION_TURN
from deployments.errors import UpstreamFailedError

_SHOWN_CHARACTERS = 160
_MICROPHONE_RATE = 16_000
_SPEAKER_RATE = 24_000
"""The rate of the default voice, which a loudspeaker is opened with."""


@click.command("ask")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the spoken answer to a WAV file.")
@language_option
@collection_option
@nats_option
@timeout_option
@json_option
def ask_command(
    file: Path,
    out: Path | None,
    language: str,
    collection: str,
    server: NatsServer,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    """Ask a recorded question, and hear the answer.

    FILE is a recording: WAV, FLAC, Ogg, MP3 or AIFF. WebM, M4A and AMR are read if the speech model has the extra
    `media`.

    Without --out, the answer is played if this machine has a loudspeaker.
    """
    request = messages_pb2.VoiceRequest(
        request_id=uuid4().hex, audio=file.read_bytes(), language=language, collection=collection
    )
    response = asyncio.run(_ask(request, server, timeout_s))
    if out is not None and response.audio:
        out.write_bytes(response.audio)
    if as_json:
        write_json(_as_json(response, out))
    else:
        _show(response, out)
    if not response.response:
        sys.exit(1)


@click.command("talk")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--interrupt",
    "barge_in_s",
    type=click.FloatRange(min=0.0),
    callback=finite,
    metavar="SECONDS",
    help="Start each following file this long after the previous answer began. Default: when that answer has ended.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write what was heard of the answers to a WAV file."
)
@click.option("--user", default="", help="Your user id: earlier turns under this id are remembered.")
@click.option("--no-rag", is_flag=True, help="Let the model answer alone, without documents.")
@click.option("--system-prompt", default="", help="Use this instead of the configured system prompt.")
@voice_option
@language_option
@collection_option
@nats_option
@timeout_option
@json_option
def talk_command(
    files: tuple[Path, ...],
    barge_in_s: float | None,
    out: Path | None,
    user: str,
    system_prompt: str,
    voice: str,
    language: str,
    collection: str,
    server: NatsServer,
    timeout_s: float,
    *,
    no_rag: bool,
    as_json: bool,
) -> None:
    """Have a conversation: speak, hear the answer, interrupt it.

    Without FILES, it uses your microphone until Ctrl-C. Wear headphones: a loudspeaker would be heard as your voice.

    With FILES, the recordings are spoken one after the other in real time. The answers are not played, but each takes
    as long as playing it would.
    """
    start = messages_pb2.STTStreamMessage(
        language=language,
        user_id=user,
        conversation=conversation_pb2.ConversationRequest(
            voice=voice, collection=collection, system_prompt=system_prompt, without_documents=no_rag
        ),
    )
    if not files and not (has_microphone() and has_loudspeaker()):
        raise click.ClickException("there are no microphone and loudspeaker here: name recordings to be spoken")
    if files:
        source = recordings(read_recordings(files), _MICROPHONE_RATE, barge_in_s=barge_in_s, timeout_s=timeout_s)
        talked = asyncio.run(_talk(source, start, server, timeout_s, as_json=as_json))
    else:
        talked = asyncio.run(_talk_live(start, server, timeout_s, as_json=as_json))
    if out is not None and talked.rate:
        write_wav(out, b"".join(talked.heard), talked.rate)
    if talked.records and not as_json:
        show_turn(talked.records[-1])
    if not any(record.answer for record in talked.records):
        errors.print(styled("  nothing was answered", style="dim"))
        sys.exit(1)


@click.command("turn")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Read the records from this file.")
@click.option(
    "--last", "count", type=click.IntRange(min=1), default=1, show_default=True, help="How many turns to print."
)
@click.option("--follow", is_flag=True, help="Print every turn of all sessions as it ends, until Ctrl-C.")
@nats_option
@json_option
def turn_command(file: Path | None, count: int, server: NatsServer, *, follow: bool, as_json: bool) -> None:
    """Show the timing of the last spoken turn, as a chart.

    All times count from the end of the question.

    The records that `hearth up` keeps do not contain what was said, unless the setting `nats.log_text` is true. With
    --follow, the records come over NATS and do contain it.
    """
    if follow:
        asyncio.run(_follow(server, as_json=as_json))
        return
    for record in last_turns(file or state.turns_file(), count):
        _print_record(record, as_json=as_json)


def ask_as_spoken(question: str, folder: Path, timeout_s: float) -> Path:
    """Have a question spoken, ask it as a microphone would, and print the conversation and its waterfall.

    Returns:
        The WAV file of the answer; that of the question lies beside it.

    Raises:
        HearthError: It was not asked, or not answered.
    """
    said = asyncio.run(_said(question, timeout_s))
    write_wav(folder / "question.wav", said.pcm, said.rate)
    start = messages_pb2.STTStreamMessage(conversation=conversation_pb2.ConversationRequest())
    source = recordings([said.pcm], said.rate, timeout_s=timeout_s)
    talked = asyncio.run(_talk(source, start, chosen_server(), timeout_s, as_json=False))
    if not talked.heard:
        reasons = "; ".join(record.error for record in talked.records) or "its speech was not understood"
        raise UpstreamFailedError(f"the spoken question was not answered aloud: {reasons}")
    write_wav(folder / "answer.wav", b"".join(talked.heard), talked.rate)
    show_turn(talked.records[-1])
    return folder / "answer.wav"


async def _said(text: str, timeout_s: float) -> Said:
    async with connected(chosen_server()) as client:
        return await say(client, messages_pb2.TTSRequest(text=text), timeout_s, unheard)


async def _ask(request: messages_pb2.VoiceRequest, server: NatsServer, timeout_s: float) -> messages_pb2.VoiceResponse:
    async with connected(server) as client:
        return await client.ask_aloud(request, timeout_s)


def _show(response: messages_pb2.VoiceResponse, out: Path | None) -> None:
    print_line(assembled(("  You     ", "cyan"), response.transcription or "—"))
    print_line(assembled(("  Hearth  ", "green"), response.response or "—"))
    for source in response.sources[:1]:
        passage = shorten(source.text, _SHOWN_CHARACTERS, placeholder=" …")
        place = citation_text(source.citation)
        print_line(styled(f"  from    {place}: {passage}" if place else f"  from    {passage}", style="dim"))
    if response.error:
        print_line(styled(f"  ✗ {response.error}", style="red"), to=errors)
    if not response.audio:
        return
    if out is not None:
        print_line(styled(f"  {out}: the spoken answer", style="dim"))
    elif has_loudspeaker():
        with wave.open(io.BytesIO(response.audio)) as file, loudspeaker(file.getframerate()) as device:
            device.write(file.readframes(file.getnframes()))
    else:
        console.print(styled("  no sound device here: write the spoken answer with --out FILE", style="dim"))


def _as_json(response: messages_pb2.VoiceResponse, out: Path | None) -> dict[str, object]:
    return {
        "transcription": response.transcription,
        "answer": response.response,
        "sources": [
            {"text": source.text, "score": source.score, **citation_as_json(source.citation)}
            for source in response.sources
        ],
        "audio_bytes": len(response.audio),
        "file": str(out) if out and response.audio else "",
        "error": response.error,
    }


def read_recordings(files: tuple[Path, ...]) -> list[bytes]:
    """Return the sound of recordings as a microphone hears it.

    Raises:
        InvalidRequestError: One of them cannot be read.
    """
    spoken: list[bytes] = []
    for file in files:
        with opened_recording(file) as recording:
            spoken.append(recording.whole_pcm(_MICROPHONE_RATE))
    return spoken


async def _talk(
    source: Microphone,
    start: messages_pb2.STTStreamMessage,
    server: NatsServer,
    timeout_s: float,
    *,
    as_json: bool,
    player: Player | None = None,
) -> Talked:
    async with connected(server) as client:
        with TalkPrinter(as_json=as_json) as printer:
            return await talk(client, source, player or Player(), printer, start, timeout_s)


async def _talk_live(
    start: messages_pb2.STTStreamMessage, server: NatsServer, timeout_s: float, *, as_json: bool
) -> Talked:
    """Hold a conversation on the sound device of this machine, until Ctrl-C."""
    stopping = stop_on_interrupt()
    with microphone(_MICROPHONE_RATE, CHUNK_S) as heard, speaker(_SPEAKER_RATE) as device:

        async def pieces(cues: Cues) -> AsyncGenerator[bytes]:
            del cues
            async with aclosing(heard):
                async for piece in heard:
                    if stopping.is_set():
                        return
                    yield piece

        console.print(styled("  speak; Ctrl-C ends the conversation", style="dim"))
        source = Microphone(_MICROPHONE_RATE, pieces)
        return await _talk(source, start, server, timeout_s, as_json=as_json, player=Player(device))


async def _follow(server: NatsServer, *, as_json: bool) -> None:
    async with connected(server) as client:

        async def arrived(message: Msg) -> None:
            _print_record(decoded(conversation_pb2.TurnRecord, message), as_json=as_json)

        await client.connection.subscribe(CONVERSATION_TURN.wildcard, cb=arrived)
        await asyncio.Event().wait()


def _print_record(record: conversation_pb2.TurnRecord, *, as_json: bool) -> None:
    if as_json:
        write_json(record_as_dict(record))
    else:
        show_turn(record)
