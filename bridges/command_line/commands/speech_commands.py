"""`hearth say`, `hearth listen`, `hearth voices`: speech out of text, and text out of speech."""

import asyncio
import base64
import sys
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from pathlib import Path

import click

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.commands.options import (
    finite,
    json_option,
    language_option,
    nats_option,
    timeout_option,
    voice_option,
)
from bridges.command_line.console import console, errors, plain_table, print_line, styled, write_json
from bridges.command_line.sound.saying import Said, say, unheard, write_wav
from bridges.command_line.sound.sound_device import Loudspeaker, has_loudspeaker, loudspeaker
from bridges.command_line.sound.transcribe_client import SoundSource, listen, open_source
from bridges.command_line.sound.transcripts import TranscriptPrinter
from bridges.generated.messages.v1 import messages_pb2

_PACE_HELP = "Speed at which a file is sent; 1 is real time, 2 is twice as fast."


@click.command("say")
@click.argument("text")
@voice_option
@click.option(
    "--language", default="", help="Language of the text, as an ISO 639-1 code such as en. Default: that of the voice."
)
@click.option(
    "--like", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="WAV file of a voice to imitate."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the speech to a WAV file instead of playing it.",
)
@nats_option
@timeout_option
@json_option
def say_command(
    text: str,
    voice: str,
    language: str,
    like: Path | None,
    out: Path | None,
    server: NatsServer,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    """Speak a text, or write the speech to a WAV file.

    If TEXT is "-", it is read from standard input.
    """
    if out is None and not has_loudspeaker():
        raise click.ClickException("there is no sound device here: name a file with --out FILE")
    request = messages_pb2.TTSRequest(
        text=sys.stdin.read() if text == "-" else text,
        speaker=voice,
        language=language,
        speaker_wav_b64=base64.b64encode(like.read_bytes()).decode() if like else "",
    )
    said = asyncio.run(_say(request, out, server, timeout_s))
    if as_json:
        times = {"seconds": said.seconds, "first_audio_s": said.first_audio_s, "total_s": said.total_s}
        write_json({"sample_rate": said.rate, "file": str(out) if out else "", **times})
        return
    where = f"{out}: " if out else ""
    timing = f"  {where}{said.seconds:.1f} s of speech in {said.total_s:.2f} s, the first sound after "
    print_line(styled(f"{timing}{said.first_audio_s * 1000:.0f} ms", style="dim"))


@click.command("listen")
@click.argument("source")
@click.option(
    "--pace", type=click.FloatRange(min=0.1, max=100), callback=finite, default=1.0, show_default=True, help=_PACE_HELP
)
@language_option
@click.option(
    "--rate",
    type=click.IntRange(4000, 192_000),
    default=16_000,
    show_default=True,
    help="Samples per second, if SOURCE is a pipe.",
)
@click.option(
    "--channels",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    help="Number of channels, if SOURCE is a pipe.",
)
@nats_option
@timeout_option
@json_option
def listen_command(
    source: str,
    pace: float,
    language: str,
    rate: int,
    channels: int,
    server: NatsServer,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    """Transcribe a recording or a live pipe.

    SOURCE is a recording: WAV, FLAC, Ogg, MP3 or AIFF. WebM, M4A and AMR are read if the extra `media` is installed.

    If it is "-", WAV or raw 16-bit PCM is read from standard input, for example from
    `arecord -f S16_LE -r 16000 | hearth listen -`. Ctrl-C ends a pipe and prints its last transcript.

    A partial transcript is redrawn in place while somebody speaks. A final transcript stays.
    """
    with open_source(source, rate, channels) as opened:
        heard = asyncio.run(_listen(opened, pace, language, server, timeout_s, as_json=as_json))
    if not heard and not as_json:
        errors.print(styled("  nobody spoke", style="dim"))


@click.command("voices")
@click.option("--refresh", is_flag=True, help="Search for custom voices first.")
@nats_option
@timeout_option
@json_option
def voices_command(server: NatsServer, timeout_s: float, *, refresh: bool, as_json: bool) -> None:
    """List the voices.

    If a folder looks like a voice but cannot be used, it is listed with the reason.
    """
    listed = asyncio.run(_voices(server, timeout_s, refresh=refresh))
    rows = [*listed.built_in_voices, *listed.custom_voices]
    if as_json:
        voices = [
            {"name": row.name, "language": row.language, "kind": row.model_type, "created_at": row.created_at}
            for row in rows
        ]
        write_json({"default": listed.default_speaker, "voices": voices, "faults": list(listed.faults)})
        return
    table = plain_table("Voice", "Language", "Engine", "Made")
    for row in rows:
        name = f"{row.name} *" if row.name == listed.default_speaker else row.name
        table.add_row(name, row.language, row.model_type, row.created_at)
    console.print(table)
    console.print(styled("* speaks where no voice is named", style="dim"))
    for fault in listed.faults:
        print_line(styled(f"  ✗ {fault}", style="yellow"), to=errors)


async def _say(request: messages_pb2.TTSRequest, out: Path | None, server: NatsServer, timeout_s: float) -> Said:
    async with connected(server) as client:
        if out is None:
            with ExitStack() as open_devices:
                return await say(client, request, timeout_s, _player(open_devices))
        said = await say(client, request, timeout_s, unheard)
    write_wav(out, said.pcm, said.rate)
    return said


def _player(open_devices: ExitStack) -> Callable[[bytes, int], None]:
    """Return what plays each piece, on a loudspeaker that is opened for the first one."""
    speakers: list[Loudspeaker] = []

    def play(pcm: bytes, rate: int) -> None:
        if not speakers:
            speakers.append(open_devices.enter_context(loudspeaker(rate)))
        speakers[0].write(pcm)

    return play


async def _listen(
    source: SoundSource, pace: float, language: str, server: NatsServer, timeout_s: float, *, as_json: bool
) -> bool:
    """Print what is heard; return whether anything was."""
    heard = False
    async with connected(server) as client:
        transcripts = listen(client, source, pace=pace, language=language, timeout_s=timeout_s)
        with TranscriptPrinter(as_json=as_json) as printer:
            async with aclosing(transcripts):
                async for transcript in transcripts:
                    printer.show(transcript)
                    heard = heard or bool(transcript.transcript)
    return heard


async def _voices(server: NatsServer, timeout_s: float, *, refresh: bool) -> messages_pb2.TTSVoiceListResponse:
    async with connected(server) as client:
        if refresh:
            await client.refresh_voices(timeout_s)
        return await client.voices(timeout_s)
