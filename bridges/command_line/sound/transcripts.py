"""Transcripts at the terminal: what is being heard redrawn in place, what was heard kept."""

from types import TracebackType
from typing import Self

from rich.live import Live

from bridges.command_line.console import assembled, console, errors, print_line, styled, write_json
from bridges.generated.messages.v1 import messages_pb2


class TranscriptPrinter:
    """Prints transcripts as they come; where the output is no terminal, only final ones.

    Args:
        as_json: Print each as a line of JSON, partial ones too.
        label: What stands before each, and its style.
    """

    def __init__(self, *, as_json: bool, label: tuple[str, str] = ("", "")) -> None:
        self._as_json = as_json
        self._label = label
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if not self._as_json and console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, transcript: messages_pb2.STTTranscription) -> None:
        """Print one."""
        if self._as_json:
            write_json(_as_json(transcript))
        elif transcript.is_partial:
            self._redraw(transcript)
        else:
            self._keep(transcript)

    def _redraw(self, transcript: messages_pb2.STTTranscription) -> None:
        if not self._live.is_started:
            return
        stable = transcript.transcript[: transcript.stable_characters]
        rest = transcript.transcript[transcript.stable_characters :]
        self._live.update(assembled("  ", self._label, stable, (rest, "dim")), refresh=True)

    def _keep(self, transcript: messages_pb2.STTTranscription) -> None:
        if self._live.is_started:
            self._live.update(styled(""), refresh=True)
        if transcript.transcript:
            print_line(assembled("  ", self._label, transcript.transcript))
        if transcript.error:
            print_line(styled(f"  ✗ {transcript.error}", style="red"), to=errors)


def _as_json(transcript: messages_pb2.STTTranscription) -> dict[str, object]:
    return {
        "sequence": transcript.sequence,
        "transcript": transcript.transcript,
        "final": transcript.is_final,
        "stable_characters": transcript.stable_characters,
        "error": transcript.error,
    }
