"""`hearth doctor`: what is missing on this machine, and the command that mends it."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
from rich.padding import Padding
from rich.table import Column, Table

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.console import styled
from bridges.command_line.local import state
from bridges.command_line.local.installation import EXTRAS, PROGRAMS, THIS, missing_extras, missing_programs
from bridges.command_line.local.model_download import ModelFetcher, models_to_fetch
from bridges.command_line.sound.sound_device import has_loudspeaker
from deployments.errors import HearthError
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore, not_the_model

_PYTHON = ((3, 11), (3, 13))
_DISK_BYTES = 2_000_000_000
_MEMORY_BYTES = 6_000_000_000
_STATUS_S = 10.0


class Verdict(StrEnum):
    """What was found."""

    WELL = "well"
    MISSED = "missed"
    """It works without, with less."""
    BROKEN = "broken"


_MARKS = {Verdict.WELL: ("✓", "green"), Verdict.MISSED: ("–", "yellow"), Verdict.BROKEN: ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of the thing.
        verdict: How it is.
        detail: What was found.
        mend: The command that mends it, or what is to be done; empty where nothing is.
    """

    name: str
    verdict: Verdict
    detail: str
    mend: str = ""


async def examine(server: NatsServer) -> list[Finding]:
    """Look at this machine, and at the graph behind a NATS server."""
    return [*_machine(), *_installed(), *_models(), *_started(), *await _server(server)]


def findings_table(findings: Iterable[Finding]) -> Padding:
    """Return findings one below the other, what is said of each wrapped beside its name."""
    table = Table.grid(
        Column(no_wrap=True), Column(no_wrap=True, style="bold"), Column(overflow="fold"), padding=(0, 1)
    )
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        table.add_row(styled(mark, style=style), finding.name, styled(finding.detail))
        if finding.mend:
            table.add_row("", "", styled(f"→ {finding.mend}", style="cyan"))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _machine() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    low, high = _PYTHON
    if low <= sys.version_info[:2] <= high:
        yield Finding("Python", Verdict.WELL, version)
    else:
        yield Finding("Python", Verdict.BROKEN, f"{version}: expected 3.11 to 3.13", "uv python install 3.11")
    memory = psutil.virtual_memory().total
    verdict = Verdict.WELL if memory >= _MEMORY_BYTES else Verdict.MISSED
    wish = "" if verdict is Verdict.WELL else f"the models of serve_config.yaml want {_gigabytes(_MEMORY_BYTES)}"
    yield Finding("Memory", verdict, _gigabytes(memory), wish)
    for name, folder in (("Disk for models", ModelStore.from_environment().folder), ("Disk", state.state_folder())):
        free = shutil.disk_usage(_existing(folder)).free
        enough = free >= _DISK_BYTES
        wish = "" if enough else f"make room, or name another folder: {_gigabytes(_DISK_BYTES)} are wanted"
        yield Finding(name, Verdict.WELL if enough else Verdict.BROKEN, f"{_gigabytes(free)} free at {folder}", wish)


def _installed() -> Iterator[Finding]:
    missing = missing_extras()
    yield _all_there("Engines", missing, ", ".join(EXTRAS), THIS.install_command(missing))
    yield _all_there("Servers", missing_programs(), ", ".join(PROGRAMS), THIS.install_command(["local"]))
    if has_loudspeaker():
        yield Finding("Sound", Verdict.WELL, "there is a device")
    else:
        mend = f"for `hearth talk`: {THIS.install_command(['sound'])}, and the system's PortAudio library"
        yield Finding("Sound", Verdict.MISSED, "no device: files do", mend)


def _models() -> Iterator[Finding]:
    manifest = Manifest.load()
    fetcher = ModelFetcher(manifest, ModelStore.from_environment())
    wanted = models_to_fetch(manifest, (), everything=False)
    missing = [model.name for model in wanted if fetcher.missing(model)]
    found = {model.name: fetcher.store.find(model, model.files[0]) for model in wanted}
    in_packages = [f"{name} in {file.package}" for name, file in found.items() if file.package]
    in_store = f"{len(wanted) - len(in_packages)} in {fetcher.store.folder}"
    yield _all_there("Models", missing, ", ".join((in_store, *in_packages)), "hearth models fetch")
    for model in wanted:
        if passed_over := found[model.name].passed_over:
            yield Finding("Models", Verdict.MISSED, not_the_model(passed_over, model))


def _started() -> Iterator[Finding]:
    local = state.load_state()
    if local is None:
        yield Finding("Started here", Verdict.MISSED, "nothing", "hearth up")
        return
    dead = [name for name, process in local.processes.items() if process.find() is None]
    yield _all_there("Started here", dead, ", ".join(local.processes), "hearth up", "ended")


async def _server(server: NatsServer) -> list[Finding]:
    try:
        async with connected(server) as client:
            findings = [Finding("NATS", Verdict.WELL, f"{client.url}, {client.max_payload / 1e6:.1f} MB in a message")]
            if client.connection.offers_jetstream:
                findings.append(Finding("JetStream", Verdict.WELL, "there"))
            else:
                mend = "start the server with -js: memory of conversations and pipelines need it"
                findings.append(Finding("JetStream", Verdict.MISSED, "not there", mend))
            try:
                status = await client.status(_STATUS_S)
            except HearthError as error:
                return [*findings, Finding("Graph", Verdict.BROKEN, error.message, "hearth up")]
    except HearthError as error:
        return [Finding("NATS", Verdict.BROKEN, error.message, "hearth up")]
    verdict = Verdict.WELL if status.ready else Verdict.BROKEN
    findings.append(
        Finding("Graph", verdict, "ready" if status.ready else "not ready", "" if status.ready else "hearth up")
    )
    for part in status.components:
        if not part.ready:
            found = Verdict.BROKEN if part.required else Verdict.MISSED
            findings.append(
                Finding(part.name, found, part.detail, f"hearth logs {part.name}" if part.process_id else "")
            )
    return findings


def _all_there(name: str, missing: Iterable[str], there: str, mend: str, what: str = "missing") -> Finding:
    names = ", ".join(missing)
    return Finding(name, Verdict.BROKEN, f"{what}: {names}", mend) if names else Finding(name, Verdict.WELL, there)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.0f} GB"
