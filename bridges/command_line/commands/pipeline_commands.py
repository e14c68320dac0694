"""`hearth pipeline`: what may be started on the workflow engines, and starting it."""

import asyncio
import sys
import time
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import click

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.commands.options import json_option, nats_option, timeout_option
from bridges.command_line.console import (
    INTERRUPTED,
    assembled,
    console,
    errors,
    plain_table,
    print_line,
    styled,
    write_json,
)
from bridges.generated.hearth.v1 import pipelines_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import UpstreamFailedError

_SUCCEEDED = "succeeded"
_COLOURS = {_SUCCEEDED: "green", "failed": "red", "error": "red"}


@click.group("pipeline")
def pipeline_command() -> None:
    """Start runs on Argo Workflows and Kubeflow Pipelines."""


@pipeline_command.command("list")
@nats_option
@timeout_option
@json_option
def list_command(server: NatsServer, timeout_s: float, *, as_json: bool) -> None:
    """List the pipelines and their parameters."""
    listed = asyncio.run(_list(server, timeout_s))
    if as_json:
        write_json([_row_as_json(row) for row in listed], 2)
        return
    table = plain_table("Pipeline", "Engine", "At most", "Parameters")
    for row in listed:
        parameters = "\n".join(_parameter(parameter) for parameter in row.parameters)
        engine = row.engine if row.target == row.name else f"{row.engine}: {row.target}"
        table.add_row(row.name, engine, _duration(row.deadline_s), parameters)
    console.print(table)
    console.print(styled("* has to be given; name=value has a default", style="dim"))


@pipeline_command.command("run")
@click.argument("name")
@click.option(
    "-p",
    "--parameter",
    "parameters",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter of the run; repeat the option for more.",
)
@click.option(
    "--request-id",
    default="",
    help="Your own id for the run. The same id never starts a second run, it follows the first one.",
)
@click.option("--detach", is_flag=True, help="Return as soon as the engine has accepted the run.")
@nats_option
@timeout_option
@json_option
def run_command(
    name: str,
    parameters: tuple[str, ...],
    request_id: str,
    server: NatsServer,
    timeout_s: float,
    *,
    detach: bool,
    as_json: bool,
) -> None:
    """Start a run and follow it to its end.

    The exit status is 0 if the run succeeds, otherwise 1. Ctrl-C stops following; the run goes on. --timeout limits
    only the wait for the first status.
    """
    request = messages_pb2.PipelineTrigger(
        request_id=request_id or uuid4().hex, pipeline=name, parameters=_parameters(parameters)
    )
    try:
        last = asyncio.run(_run(request, server, timeout_s, detach=detach, as_json=as_json))
    except KeyboardInterrupt:
        again = f"hearth pipeline run {name} --request-id {request.request_id}"
        print_line(f"The run goes on without being followed. To follow it again:\n  {again}", to=errors)
        sys.exit(INTERRUPTED)
    if last.status == _SUCCEEDED or (detach and not last.error):
        return
    if not as_json:
        print_line(styled("Error: ", style="bold red"), styled(last.error or f"it {last.status}"), to=errors)
    sys.exit(1)


async def _run(
    request: messages_pb2.PipelineTrigger, server: NatsServer, timeout_s: float, *, detach: bool, as_json: bool
) -> messages_pb2.PipelineStatus:
    """Print each status of a run as it comes; return the last one that was waited for."""
    started = time.monotonic()
    last = messages_pb2.PipelineStatus()
    async with connected(server) as client, aclosing(client.trigger(request, timeout_s)) as statuses:
        with console.status(styled(f"{request.pipeline} …")) as spinner:
            async for last in statuses:
                if as_json:
                    write_json(_status_as_json(last))
                else:
                    _show(last, time.monotonic() - started)
                    spinner.update(styled(f"{request.pipeline}: {last.status} …"))
                if detach and last.run_id:
                    break
    return last


async def _list(server: NatsServer, timeout_s: float) -> list[pipelines_pb2.Pipeline]:
    async with connected(server) as client:
        listed = await client.pipelines(timeout_s)
    if listed.error:
        raise UpstreamFailedError(listed.error)
    return list(listed.pipelines)


def _parameters(given: tuple[str, ...]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="'-p'")
        if key in parameters:
            raise click.BadParameter(f"{key!r} is given twice", param_hint="'-p'")
        parameters[key] = value
    return parameters


def _show(status: messages_pb2.PipelineStatus, seconds: float) -> None:
    run = f"  {status.run_id} on {status.engine}" if status.status == "submitted" else ""
    colour = _COLOURS.get(status.status, "bold")
    print_line(assembled((f"  {status.status:<10}", colour), (f"{seconds:8.1f} s", "cyan"), (run, "dim")))


def _parameter(parameter: pipelines_pb2.PipelineParameter) -> str:
    default = f"={parameter.default_value}" if parameter.has_default else ""
    return f"{parameter.name}{default}{'*' if parameter.required else ''}"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min" if minutes else f"{seconds:g} s"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _row_as_json(row: pipelines_pb2.Pipeline) -> dict[str, Any]:
    return {
        "name": row.name,
        "engine": row.engine,
        "target": row.target,
        "deadline_s": row.deadline_s,
        "parameters": [
            {
                "name": parameter.name,
                "pattern": parameter.pattern,
                "default": parameter.default_value if parameter.has_default else None,
                "required": parameter.required,
            }
            for parameter in row.parameters
        ],
    }


def _status_as_json(status: messages_pb2.PipelineStatus) -> dict[str, Any]:
    return {
        "request_id": status.request_id,
        "status": status.status,
        "run_id": status.run_id,
        "engine": status.engine,
        "pipeline": status.pipeline,
        "submitted_at": status.submitted_at,
        "error": status.error,
        "available_pipelines": list(status.available_pipelines),
    }
