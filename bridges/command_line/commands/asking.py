"""Asking a question at the terminal: the answer as it is made, its sources, its times."""

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from bridges.command_line.client import HearthClient
from bridges.command_line.console import console, print_line, styled, write_raw
from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import UpstreamFailedError
from deployments.values.retrieval import Citation


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a question.

    Attributes:
        response: The whole answer.
        first_token_s: Seconds from the question to the first token; 0 where none was streamed.
        total_s: Seconds from the question to the whole answer.
        tokens: Tokens that were streamed.
        wanted_documents: Whether the answer was to come from documents.
    """

    response: messages_pb2.ChatResponse
    first_token_s: float
    total_s: float
    tokens: int
    wanted_documents: bool


async def ask(
    client: HearthClient,
    request: messages_pb2.ChatRequest,
    timeout_s: float,
    write: Callable[[str], None] = write_raw,
) -> Asked:
    """Ask a question, writing the answer as it arrives.

    Raises:
        UpstreamFailedError: There is no answer; the message says why.
        HearthError: The question could not be asked.
    """
    started = time.monotonic()
    first_token_s = 0.0
    tokens = 0
    async with aclosing(client.ask(request, timeout_s)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatStreamChunk):
                if item.content:
                    first_token_s = first_token_s or time.monotonic() - started
                    tokens += 1
                    write(item.content)
                continue
            if not tokens:
                write(item.response)
            write("\n")
            if not item.success:
                raise UpstreamFailedError(item.error or "no answer, and no reason given")
            return Asked(item, first_token_s, time.monotonic() - started, tokens, request.enable_rag)
    raise UpstreamFailedError("the answer broke off before its end")


def citation_as_json(citation: documents_pb2.Citation) -> dict[str, object]:
    """Return a citation for scripts."""
    return {"source": citation.source, "section": citation.section, "page": citation.page}


def citation_text(citation: documents_pb2.Citation) -> str:
    """Return a citation for people, such as "pump.pdf (Oil change, page 12)"."""
    return Citation(citation.source, citation.section, citation.page).text


def show_sources(asked: Asked) -> None:
    """Print where an answer comes from: the passage it was made from first, what else was found after it."""
    if asked.response.error:
        console.print(styled(f"  note: {asked.response.error}", style="yellow"))
    if not asked.response.used_rag:
        if asked.wanted_documents:
            note = "  answered without documents: none were found, or Milvus is away (see `hearth status`)"
            print_line(styled(note, style="yellow"))
        return
    best, *others = asked.response.rag_sources or ["a document without a name"]
    console.print(styled("  source  ", style="dim"), styled(best, style="bold"), sep="")
    if others:
        print_line(styled(f"  also found in {', '.join(others)}", style="dim"))
