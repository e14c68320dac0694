"""The pages for readers: what they name is there, and what they have to name is named."""

import ast
import shlex
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridges.command_line.main import cli
from deployments.settings.base import Settings
from deployments.settings.model_servers import ModelServerSettings
from deployments.settings.orchestration import MilvusSettings, OrchestrationSettings
from deployments.settings.speech_models import SpeechToTextSettings, TextToSpeechSettings
from deployments.settings.text_models import (
    EmbeddingsSettings,
    LanguageModelSettings,
    LanguageModelUserConfig,
    RerankerSettings,
)
from tests.pages import README, anchors, blocks, code_spans, links, pages, table_rows
from tests.servers import ROOT

PAGES = [str(page.relative_to(ROOT)) for page in pages()]
REFERENCE = ROOT / "deployments" / "README.md"
README_LINES = 150

# By the application, and what the first column of its tables is headed with.
ROOTS: Mapping[tuple[str, str], type[Settings]] = {
    ("language-model", "setting"): LanguageModelSettings,
    ("language-model", "user_config"): LanguageModelUserConfig,
    ("embeddings", "setting"): EmbeddingsSettings,
    ("reranker", "setting"): RerankerSettings,
    ("speech-to-text", "setting"): SpeechToTextSettings,
    ("text-to-speech", "setting"): TextToSpeechSettings,
    ("orchestration", "setting"): OrchestrationSettings,
}
MODEL_SERVERS = "Access to model servers"
"""Has the settings that all model servers share; only where a server is stands with each engine."""
REQUIRED = "required"
TRACING = "OTEL_"

Setting = tuple[str, str, str]
"""Application, kind, and the name with dots."""


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


# Links.


def broken_links(page: Path, text: str) -> list[str]:
    """Return the links of a page to files, folders and headings of the repository that are not there."""
    broken: list[str] = []
    for link in links(text):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        found = target.exists() and target.is_relative_to(ROOT)
        if not found or (fragment and fragment not in anchors(text if target == page else target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_repository_leads_somewhere(page: str) -> None:
    assert broken_links(ROOT / page, read(page)) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "# One\n[a](#one) [b](#two) [c](nowhere.md) [d](kuberay/README.md#metrics) [e](kuberay/README.md#no) [f](https://nats.io)"
    assert broken_links(README, text) == ["#two", "nowhere.md", "kuberay/README.md#no"]


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= README_LINES


def test_the_readme_leads_to_every_page() -> None:
    led_to = {(ROOT / link.partition("#")[0]).resolve() for link in links(read("README.md")) if "://" not in link}
    missed = {page for page in pages() if page != README and not {page, page.parent} & led_to}
    assert missed == set()


# Commands.


def commands(text: str) -> Iterator[str]:
    """Yield the `hearth` commands of a page: in blocks of code, and in its sentences."""
    for block in blocks(text, "sh"):
        for line in block.code.splitlines():
            yield from _commands_of_line(line)
    yield from (span for span in code_spans(text) if span.split()[:1] == ["hearth"])


def _commands_of_line(line: str) -> Iterator[str]:
    """Yield what a shell would run as `hearth`, alone or by `uv run`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "#", True
    command: list[str] = []
    for word in (*lexer, ";"):
        if set(word) <= set("&|;()<>"):
            if "hearth" in command:
                yield shlex.join(command[command.index("hearth") :])
            command = []
        else:
            command.append(word)


def fault(line: str) -> str:
    """Return what is wrong with a `hearth` command, empty where nothing is. Values may be missing."""
    command: click.Command = cli
    words = iter(shlex.split(line)[1:])
    for word in words:
        if word.startswith("-") and word != "-":
            option = _option(command, word.partition("=")[0])
            if option is None:
                return f"{line}: no option {word}"
            if not option.is_flag and "=" not in word:
                next(words, None)
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return f"{line}: no command {word}"
            command = command.commands[word]
        elif not any(isinstance(parameter, click.Argument) for parameter in command.params):
            return f"{line}: takes no {word}"
    return ""


def _option(command: click.Command, name: str) -> click.Option | None:
    given = command.get_params(click.Context(command, help_option_names=["-h", "--help"]))
    options = [parameter for parameter in given if isinstance(parameter, click.Option)]
    return next((option for option in options if name in (*option.opts, *option.secondary_opts)), None)


@pytest.mark.parametrize("page", PAGES)
def test_every_hearth_command_exists_with_its_options(page: str) -> None:
    assert [found for line in commands(read(page)) if (found := fault(line))] == []


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    text = (
        "Run `hearth up`.\n\n```sh\ncd x && uv run hearth say 'a; b' --out c  # hearth no\na | hearth listen -\n```\n"
    )
    assert list(commands(text)) == ["hearth say 'a; b' --out c", "hearth listen -", "hearth up"]


@pytest.mark.parametrize(
    "line",
    ["hearth sing", "hearth chat --loud", "hearth models burn", "hearth down now", "hearth pipeline run x --param a=b"],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    assert fault(line)


def test_the_readme_names_every_command() -> None:
    named = {line.split()[1] for line in commands(read("README.md")) if len(line.split()) > 1}
    assert set(cli.commands) - named == set()


# Settings.


def documented() -> dict[Setting, object]:
    """Return the settings of the reference with their defaults."""
    found: dict[Setting, object] = {}
    for row in table_rows(REFERENCE.read_text(encoding="utf-8")):
        application = row.headings[-1].strip("`")
        if "All settings" not in row.headings or application not in {MODEL_SERVERS, *(name for name, _ in ROOTS)}:
            continue
        setting = (application, row.header.strip("`"), row.cells[0].strip("`"))
        assert setting not in found, f"{setting} is there twice"
        assert row.cells[2], f"{setting} is not explained"
        found[setting] = _default_of(row.cells[1])
    return found


def _default_of(cell: str) -> object:
    return REQUIRED if cell == REQUIRED else yaml.safe_load(cell.strip("`"))


def existing() -> dict[Setting, object]:
    """Return the settings of the applications with their defaults."""
    found: dict[Setting, object] = {}
    for (application, kind), model in ROOTS.items():
        found |= {(application, inner, name): default for inner, name, default in _settings(model, kind, "")}
    shared = _settings(ModelServerSettings, "setting", "engine.", frozenset({"base_url"}))
    return found | {(MODEL_SERVERS, kind, name): default for kind, name, default in shared}


def _settings(
    model: type[BaseModel], kind: str, prefix: str, without: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str, object]]:
    for name, field in model.model_fields.items():
        if name == "kind" or name in without:
            continue
        inner, path = _inner(field.annotation), f"{prefix}{name}"
        if any(one in ROOTS.values() for one in inner):
            # The settings of another application stand in its own tables.
            yield kind, path, _default(field)
            continue
        if not inner or get_origin(field.annotation) not in {None, Annotated, Union, UnionType}:
            yield kind, path, _default(field)
        place = {tuple: "[].", Mapping: ".NAME."}.get(_container(field), ".")
        for one in inner:
            yield from _settings(one, _kind(one) or kind, f"{path}{place}", _explained_elsewhere(one))


def _explained_elsewhere(model: type[Settings]) -> frozenset[str]:
    shared = ModelServerSettings.model_fields.keys() - {"base_url"}
    return frozenset(shared if issubclass(model, ModelServerSettings) else ())


def _container(field: FieldInfo) -> Any:
    origin = get_origin(field.annotation)
    return Mapping if isinstance(origin, type) and issubclass(origin, Mapping) else origin


def _inner(annotation: Any) -> list[type[Settings]]:
    """Return the settings within a type."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _inner(argument)]


def _kind(model: type[BaseModel]) -> str:
    field = model.model_fields.get("kind")
    return f"kind: {get_args(field.annotation)[0]}" if field else ""


def _default(field: FieldInfo) -> object:
    return REQUIRED if field.is_required() else _plain(field.get_default(call_default_factory=True))


def _plain(value: object) -> object:
    """Return a default as YAML would give it."""
    match value:
        case Enum():
            return value.value
        case tuple():
            return list(value)
        case _:
            return value


def test_the_reference_has_every_setting_and_no_other() -> None:
    assert documented().keys() - existing().keys() == set(), "settings that do not exist"
    assert existing().keys() - documented().keys() == set(), "settings that are not in the reference"


def test_the_reference_has_their_defaults() -> None:
    there = existing()
    wrong = {name: (said, there[name]) for name, said in documented().items() if said != there[name]}
    assert wrong == {}


def test_settings_are_followed_into_every_engine_list_and_table() -> None:
    names = set(existing())
    assert ("text-to-speech", "kind: coqui", "engine.speakers") in names
    assert ("orchestration", "kind: kubernetes", "pipelines.argo.tls.ca_file") in names
    assert (MODEL_SERVERS, "setting", "engine.tls.ca_file") in names
    assert ("embeddings", "kind: tei", "engine.base_url") in names
    assert ("embeddings", "setting", "reranker") in names
    assert ("language-model", "user_config", "answering.examples[].passage") in names
    assert ("orchestration", "setting", "pipelines.table.NAME.parameters.NAME.pattern") in names
    assert existing()["language-model", "kind: llama-cpp", "engine.model"] == REQUIRED


# Environment variables.


def variables_read(tree: ast.AST) -> set[str]:
    """Return the environment variables that code reads, where it says `environment` or `environ`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Call(
                    func=ast.Attribute(value=ast.Name(id="environment") | ast.Attribute(attr="environ"), attr="get"),
                    args=[ast.Constant(value=str(name)), *_],
                )
                | ast.Subscript(
                    value=ast.Name(id="environment") | ast.Attribute(attr="environ"),
                    slice=ast.Constant(value=str(name)),
                    ctx=ast.Load(),
                )
            ):
                found.add(name)
            case _:
                pass
    return found


def all_variables() -> set[str]:
    """Return the variables that users of Hearth may set, without those of Python itself."""
    modules = [path for folder in ("bridges", "deployments") for path in (ROOT / folder).rglob("*.py")]
    read = set[str]().union(*(variables_read(ast.parse(path.read_text(encoding="utf-8"))) for path in modules))
    return {name for name in read if not name.startswith("PYTHON")} | {MilvusSettings().token_variable}


def documented_variables() -> set[str]:
    rows = table_rows(REFERENCE.read_text(encoding="utf-8"))
    return {row.cells[0].strip("`") for row in rows if row.header == "variable"}


def without_tracing(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith(TRACING)}


def test_the_reference_has_every_environment_variable_and_no_other() -> None:
    assert without_tracing(documented_variables()) == without_tracing(all_variables())
    assert any(name.startswith(TRACING) for name in documented_variables() & {f"{TRACING}…"})


def test_variables_are_found_where_they_are_read() -> None:
    code = "os.environ.get('A'); environment.get('B', ''); os.environ['C']; os.environ['D'] = 'x'; given.get('E')"
    assert variables_read(ast.parse(code)) == {"A", "B", "C"}


# What a test runs.


def test_what_no_test_runs_says_why() -> None:
    text = "<!-- not run by a test: it is long -->\n```sh\na\n```\n\n```sh\nb\n```\n"
    assert [(block.code, block.not_run) for block in blocks(text, "sh")] == [("a\n", "it is long"), ("b\n", "")]


def test_every_block_of_the_readme_names_its_language() -> None:
    assert {block.language for block in blocks(read("README.md"))} <= {"sh", "text"}
