"""A conversation at the terminal: what is being heard redrawn in place, what was said and answered kept."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from bridges.command_line.console import console, errors, print_line, styled, write_json, write_raw
from bridges.command_line.sound.transcripts import TranscriptPrinter
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.sessions.turn_log import record_as_dict


class TalkPrinter:
    """Prints a conversation as it goes on.

    Args:
        as_json: Print each event as a line of JSON, and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._transcripts = TranscriptPrinter(as_json=False, label=("You     ", "cyan"))
        self._writing = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transcripts.__exit__(kind, error, trace)

    def transcribed(self, transcript: messages_pb2.STTTranscription) -> None:
        """Print what was heard of the user."""
        if self._as_json:
            fields = {
                "transcript": transcript.transcript,
                "final": transcript.is_final,
                "revision": transcript.revision,
            }
            self._event("transcript", fields)
            return
        self._end_line()
        if transcript.is_partial:
            self._transcripts.__enter__()
        self._transcripts.show(transcript)
        if transcript.is_final:
            self._transcripts.__exit__(None, None, None)
            if transcript.revision:
                console.print(styled("          (goes on with the question before)", style="dim"))

    def wrote(self, chunk: messages_pb2.ChatStreamChunk) -> None:
        """Print a piece of an answer."""
        if self._as_json:
            return
        if chunk.content and chunk.turn != self._writing:
            self._writing = chunk.turn
            console.print(styled("  Hearth  ", style="green"), end="")
        write_raw(chunk.content)
        if chunk.done:
            self._end_line()

    def interrupted(self, played_s: float) -> None:
        """Print that the user interrupted an answer."""
        if self._as_json:
            self._event("interrupted", {"played_s": round(played_s, 3)})
            return
        self._end_line()
        console.print(styled(f"  ■ interrupted after {played_s:.1f} s", style="yellow"))

    def turn_over(self, record: conversation_pb2.TurnRecord) -> None:
        """Print what was not spoken, and what was heard of an answer that was interrupted."""
        if self._as_json:
            self._event("turn", record_as_dict(record))
            return
        if record.error:
            print_line(styled(f"  ✗ {record.error}", style="red"), to=errors)
        if record.outcome == "interrupted":
            print_line(styled(f"  heard   {record.heard or 'nothing'}", style="dim"))

    def _end_line(self) -> None:
        """End the line of an answer that something else comes into."""
        if self._writing:
            self._writing = 0
            write_raw("\n")

    def _event(self, name: str, fields: Mapping[str, object]) -> None:
        write_json({"event": name, **fields})
