"""The `hearth` command."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import get_completion_class
from rich.panel import Panel
from rich.text import Text

from bridges.command_line.client import HearthClient, NatsServer, connected
from bridges.command_line.commands.asking import Asked, ask, citation_as_json, show_sources
from bridges.command_line.commands.chatting import ChatPrompt, answer_writer, line_reader, new_user_id
from bridges.command_line.commands.dead_commands import dead_command
from bridges.command_line.commands.document_commands import delete_command, documents_command, ingest_command
from bridges.command_line.commands.drain_command import drain_command
from bridges.command_line.commands.model_commands import fetch_defaults, models_command
from bridges.command_line.commands.options import (
    TIMEOUT_HELP,
    chosen_server,
    collection_option,
    finite,
    json_option,
    nats_option,
    take_access,
    timeout_option,
)
from bridges.command_line.commands.permission_commands import permissions_command
from bridges.command_line.commands.pipeline_commands import pipeline_command
from bridges.command_line.commands.speech_commands import listen_command, say_command, voices_command
from bridges.command_line.commands.voice_commands import ask_as_spoken, ask_command, talk_command, turn_command
from bridges.command_line.console import (
    INTERRUPTED,
    Step,
    Steps,
    assembled,
    console,
    errors,
    print_line,
    show_usage_error,
    styled,
    write_json,
    write_line,
    write_raw,
)
from bridges.command_line.files.finding import find_files
from bridges.command_line.files.ingesting import SUFFIXES, IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.files.naming import name_files
from bridges.command_line.local import state
from bridges.command_line.local.doctor import Verdict, examine, findings_table
from bridges.command_line.local.installation import require_local, shipped
from bridges.command_line.local.local_stack import SERVE_CONFIG, LocalStack
from bridges.command_line.local.logs import StackLogs
from bridges.command_line.local.status_report import show_status, status_as_json
from bridges.generated.hearth.v1 import status_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import DeadlineExceededError, HearthError, UnavailableError

T = TypeVar("T")

SAMPLES = shipped("bridges.command_line", "sample_documents")
DEMO_QUESTION = "How long does the remote site keep monthly snapshots?"

_READY_WAIT_S = 180.0
_READY_POLL_S = 0.25
_STATUS_WAIT_S = 5.0
_SEARCHING = frozenset({"Embeddings", "Reranker"})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hearth")
def cli() -> None:
    """Hearth answers questions from your documents, in writing and aloud.

    Start with `hearth demo`. It fetches small models, starts everything on this machine and asks a question.
    """


@cli.command()
@click.option("--question", default=DEMO_QUESTION, show_default=True, help="The question to ask.")
@click.option("--stop/--keep", default=False, help="Stop everything at the end, or keep it running (default).")
def demo(question: str, *, stop: bool) -> None:
    """Start everything and ask a question about sample documents.

    This command fetches the models, starts the servers, deploys the graph and ingests the sample documents. Then it
    asks the question twice: in writing, and aloud.
    """
    require_local()
    steps = Steps()
    started = time.monotonic()
    console.print(assembled(("Hearth", "bold"), ("   a question over NATS, answered from documents", "dim")))
    stack, local = _up_to_chat(steps, SERVE_CONFIG, lambda: fetch_defaults(steps))
    with steps.step("Sample documents") as step:
        summary = _run(_ingest_samples())
        step.detail = f"{summary.documents} files, {summary.chunks} chunks in Milvus"
    console.print()
    print_line(styled("  You     ", style="cyan"), styled(question, style="bold"))
    console.print(styled("  Hearth  ", style="green"), end="")
    asked = _run(_ask(question, chosen_server(), 60.0))
    console.print()
    show_sources(asked)
    console.print(styled(f"  {_timing(asked)}; {time.monotonic() - started:.0f} s since the start", style="dim"))
    console.print()
    _up_to_speech(steps, SERVE_CONFIG, stack, local)
    console.print(styled("The same aloud: spoken into a session, heard, answered and spoken", style="dim"))
    answer = ask_as_spoken(question, state.state_folder() / "demo", 60.0)
    print_line(styled(f"  {answer}: the answer as it was heard", style="dim"))
    console.print()
    if stop:
        stack.stop(lambda _: None)
        return
    console.print(
        Panel(
            Text.from_markup(
                '[bold]hearth chat[/] "What does E-17 mean?"   another question\n'
                "[bold]hearth ingest[/] PATH…                  your own PDF, Word, HTML, Markdown …\n"
                "[bold]hearth say[/] TEXT --out FILE           speech, as a WAV file\n"
                "[bold]hearth listen[/] FILE                   its transcript, as it is heard\n"
                "[bold]hearth talk[/]                          a conversation, aloud\n"
                "[bold]hearth status[/]                        what is running\n"
                "[bold]hearth down[/]                          stop everything"
            ),
            title="Everything keeps running. Next",
            title_align="left",
            expand=False,
        )
    )


@cli.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Deploy this configuration instead of the shipped serve_config.yaml. Its models are not fetched.",
)
def up(config: Path | None) -> None:
    """Start NATS, Milvus Lite, Ray and the graph on this machine.

    It deploys the graph of serve_config.yaml. Chat may be asked before the models of speech are there. Processes that
    already run are kept. Run it again to deploy a changed configuration. To write a configuration of your own, start
    with the one that `hearth config` prints.
    """
    steps = Steps()
    if config is None:
        require_local()
        config = SERVE_CONFIG
        stack, local = _up_to_chat(steps, config, lambda: fetch_defaults(steps))
    else:
        stack, local = _up_to_chat(steps, config)
    _up_to_speech(steps, config, stack, local)
    console.print()
    console.print(f"  NATS       {local.nats_url}")
    console.print(f"  Milvus     {local.milvus_uri}")
    print_line(f"  Dashboard  {local.dashboard_url}  (token: {state.state_folder() / 'ray-token'})")


@cli.command("config")
def config_command() -> None:
    """Print the shipped serve_config.yaml."""
    write_raw(SERVE_CONFIG.read_text(encoding="utf-8"))


@cli.command()
def down() -> None:
    """Stop everything that `hearth up` started. Your documents stay."""
    with console.status("Stopping …") as status:
        stopped = LocalStack().stop(lambda text: status.update(styled(f"{text} …")))
    console.print("Stopped." if stopped else "Nothing was running.")


@cli.command("doctor")
@nats_option
@json_option
def doctor_command(server: NatsServer, *, as_json: bool) -> None:
    """Check this machine, and say how to fix what is wrong.

    The exit status is 1 if something is broken.
    """
    findings = _run(examine(server))
    if as_json:
        write_json([asdict(finding) for finding in findings], 2)
    else:
        console.print(findings_table(findings))
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        sys.exit(1)


@cli.command("logs")
@click.argument("name", required=False)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many lines, counted from the end.",
)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
def logs_command(name: str | None, lines: int, *, follow: bool) -> None:
    """Print the log of a server or a deployment.

    Without NAME, it lists the names that have a log. It works for what `hearth up` started on this machine.
    """
    local = state.load_state()
    if local is None:
        raise click.ClickException("nothing was started here: run `hearth up`")
    logs = StackLogs(LocalStack(), local)
    if name is None:
        write_line("\n".join(logs.names()))
        return
    for line in logs.read(name, lines, follow=follow):
        write_line(line)


@cli.command("status")
@nats_option
@json_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    callback=finite,
    default=10.0,
    show_default=True,
    help=TIMEOUT_HELP,
)
def status_command(server: NatsServer, timeout_s: float, *, as_json: bool) -> None:
    """Show whether the graph is ready, part by part.

    The exit status is 1 if it is not ready.
    """
    status = _run(_status(server, timeout_s))
    if as_json:
        write_json(status_as_json(status), 2)
    else:
        show_status(status)
    if not status.ready:
        sys.exit(1)


@cli.command()
@click.argument("question", required=False)
@collection_option
@nats_option
@timeout_option
@json_option
@click.option("--no-rag", is_flag=True, help="Let the model answer alone, without documents.")
@click.option("--no-rerank", is_flag=True, help="Keep the order of the search; do not rerank.")
@click.option(
    "--top-k", type=click.IntRange(min=0), default=0, help="How many passages to keep; 0 means the configured number."
)
@click.option("--system-prompt", default="", help="Use this instead of the configured system prompt.")
def chat(
    question: str | None,
    collection: str,
    server: NatsServer,
    timeout_s: float,
    system_prompt: str,
    top_k: int,
    *,
    as_json: bool,
    no_rag: bool,
    no_rerank: bool,
) -> None:
    """Ask a question, and print the answer with its sources.

    Without QUESTION, you get a prompt and hold a conversation: a question may refer to the ones before it. Ctrl-C stops
    an answer. /help lists the other commands of the prompt.
    """
    request = messages_pb2.ChatRequest(
        message=question or "",
        enable_rag=not no_rag,
        enable_reranker=not no_rerank,
        enable_streaming=not as_json,
        top_k=top_k,
        collection=collection,
        system_prompt=system_prompt,
    )
    if question is None:
        if as_json:
            raise click.UsageError("--json needs a QUESTION")
        _converse(request, server, timeout_s)
        return
    if as_json:
        response = _run(_answer(request, server, timeout_s))
        write_json(
            {
                "answer": response.response,
                "success": response.success,
                "error": response.error,
                "used_rag": response.used_rag,
                "sources": list(response.rag_sources),
                "citations": [citation_as_json(citation) for citation in response.citations],
            }
        )
        sys.exit(0 if response.success else 1)
    with answer_writer() as write:
        asked = _run(_ask_request(request, server, timeout_s, write))
    show_sources(asked)
    console.print(styled(f"  {_timing(asked)}", style="dim"))


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a script that completes `hearth` commands in your shell.

    Save the output where your shell looks for it. For zsh, that is the file _hearth in a folder of your $fpath. For
    bash and fish:

    \b
    hearth completion bash > ~/.local/share/bash-completion/completions/hearth
    hearth completion fish > ~/.config/fish/completions/hearth.fish
    """  # noqa: D301 - click takes the character itself for "leave these lines as they are"
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101 - each of the choices has one
    write_line(complete(cli, {}, "hearth", "_HEARTH_COMPLETE").source())


for _command in (
    *(ingest_command, documents_command, delete_command),
    *(say_command, listen_command, voices_command),
    *(ask_command, talk_command, turn_command),
    *(pipeline_command, models_command, drain_command, permissions_command, dead_command),
):
    cli.add_command(_command)
take_access(cli)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: errors in one line, Ctrl-C without a traceback.

    Args:
        arguments: What stands after `hearth`; None for what this process was started with.
    """
    try:
        cli(arguments, prog_name="hearth", standalone_mode=False)
    except HearthError as error:
        print_line(styled("Error: ", style="bold red"), styled(error.message), to=errors)
        sys.exit(1)
    except click.ClickException as error:
        show_usage_error(error)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        errors.print("Interrupted.")
        sys.exit(INTERRUPTED)


def _up_to_chat(
    steps: Steps, config: Path, meanwhile: Callable[[], None] = lambda: None
) -> tuple[LocalStack, state.LocalState]:
    """Start everything until chat may be asked; the rest goes on starting.

    `meanwhile` is done while the servers start.
    """
    stack = LocalStack()
    with steps.step("NATS, Milvus, Ray") as step:
        local = stack.start(step.report, lambda: step.aside(meanwhile))
        step.detail = f"{local.nats_url}  {local.milvus_uri}"
    with steps.step("Chat") as step:
        stack.deploy(local, config, speech=False)
        _run(_await_graph(stack, local, step, _answers))
        stack.deploy(local, config)
        step.detail = "may be asked now"
    return stack, local


def _up_to_speech(steps: Steps, config: Path, stack: LocalStack, local: state.LocalState) -> None:
    """Wait until all that the configuration has runs."""
    with steps.step("Graph") as step:
        status = _run(_await_graph(stack, local, step, _is_whole))
        step.detail = f"{sum(part.process_id > 0 for part in status.components)} services of {config.name}"


Reached = Callable[[HearthClient, status_pb2.StatusResponse, Sequence[str]], Coroutine[Any, Any, bool]]
"""Says whether the graph is as it should be, by its status and the applications that do not run yet."""


async def _await_graph(
    stack: LocalStack, local: state.LocalState, step: Step, reached: Reached
) -> status_pb2.StatusResponse:
    """Wait until the graph is as `reached` wants it; return its status.

    Raises:
        UpstreamFailedError: An application failed; the message says why.
        DeadlineExceededError: It took too long.
    """
    deadline = time.monotonic() + _READY_WAIT_S
    missing: list[str] = []
    async with connected(local.nats_url) as client:
        while time.monotonic() < deadline:
            missing = await asyncio.to_thread(stack.not_running, local)
            step.report(f"Deploying {', '.join(missing)}" if missing else "Waiting for the first answers")
            with contextlib.suppress(UnavailableError, DeadlineExceededError):
                status = await client.status(_STATUS_WAIT_S)
                if await reached(client, status, missing):
                    return status
            await asyncio.sleep(_READY_POLL_S)
    waiting = f"{', '.join(missing)} not running" if missing else "no requests taken"
    raise DeadlineExceededError(f"{waiting} after {_READY_WAIT_S:g} s: see `hearth status`")


async def _answers(client: HearthClient, status: status_pb2.StatusResponse, missing: Sequence[str]) -> bool:
    """Say whether a question is answered from documents, though other applications may not run yet."""
    del client
    ready = {part.name for part in status.components if part.ready}
    return status.ready and (not missing or ready >= _SEARCHING)


async def _is_whole(client: HearthClient, status: status_pb2.StatusResponse, missing: Sequence[str]) -> bool:
    """Say whether everything runs, and takes requests."""
    return status.ready and not missing and await _speaks(client, status)


async def _speaks(client: HearthClient, status: status_pb2.StatusResponse) -> bool:
    """Say whether the audio ingress, which connects by itself, takes requests, or is not there to be missed."""
    if not any(part.name == "TextToSpeech" and part.ready for part in status.components):
        return True
    try:
        await client.voices(5.0)
    except UnavailableError:
        return False
    return True


async def _ingest_samples() -> IngestSummary:
    files, summary = name_files(find_files([SAMPLES], SUFFIXES).files, [SAMPLES], prefix="").files, IngestSummary()
    async with connected(chosen_server()) as client:
        options = IngestOptions(timeout_s=60.0, again=True)
        await ingest_files(client, files, options, summary, Unobserved())
    if summary.failed or summary.stopped:
        faults = [f"{source}: {reason}" for source, reason in summary.failed]
        raise UnavailableError("; ".join([*faults, summary.stopped]).strip("; "))
    return summary


async def _ask(question: str, server: NatsServer, timeout_s: float) -> Asked:
    request = messages_pb2.ChatRequest(message=question, enable_rag=True, enable_reranker=True, enable_streaming=True)
    return await _ask_request(request, server, timeout_s)


async def _ask_request(
    request: messages_pb2.ChatRequest, server: NatsServer, timeout_s: float, write: Callable[[str], None] = write_raw
) -> Asked:
    async with connected(server) as client:
        return await ask(client, request, timeout_s, write)


def _converse(options: messages_pb2.ChatRequest, server: NatsServer, timeout_s: float) -> None:
    """Answer questions at a prompt, each asked as `options` says."""

    def asked(question: str, user_id: str, write: Callable[[str], None]) -> Asked:
        request = messages_pb2.ChatRequest()
        request.CopyFrom(options)
        request.message, request.user_id = question, user_id
        return _run(_ask_request(request, server, timeout_s, write))

    with line_reader() as read:
        ChatPrompt(asked, read, new_user_id()).run()


async def _answer(request: messages_pb2.ChatRequest, server: NatsServer, timeout_s: float) -> messages_pb2.ChatResponse:
    async with connected(server) as client, aclosing(client.ask(request, timeout_s)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse):
                return item
    raise UnavailableError("the answer broke off before its end")


async def _status(server: NatsServer, timeout_s: float) -> status_pb2.StatusResponse:
    async with connected(server) as client:
        return await client.status(timeout_s)


def _timing(asked: Asked) -> str:
    if not asked.tokens:
        return f"answered in {asked.total_s:.2f} s"
    return f"first token after {asked.first_token_s:.2f} s, {asked.tokens} tokens in {asked.total_s:.2f} s"


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
