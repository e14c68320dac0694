"""Generate what is made from something else: protobuf modules, tables of subjects, permissions, what overlays deploy.

The modules under `bridges/generated` come from `proto/`, the tables on a page and the permissions of NATS users from
`bridges.subjects`, and the configurations under `kuberay/overlays` from `serve_config.yaml` and a patch.

Run `uv run python -m bridges.generate`. With `--check` nothing is written, and the exit status is 1 if what is
committed differs from what would be written.
"""

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from bridges.overlay_configs import CONFIG_NAME, overlay_configs

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "proto"
TARGET = ROOT / "bridges" / "generated"
SUBJECTS_PAGE = ROOT / "bridges" / "README.md"
"""The page with the tables of subjects, between the markers of `bridges.subject_pages`."""
NATS_USERS = ROOT / "kuberay" / "charts" / "nats-users.yaml"
_OWN_IMPORT = re.compile(r"^from ((?:hearth|messages)\.v1 import)", re.MULTILINE)


def generate(target: Path) -> None:
    """Write a module and a stub for every .proto file into `target`."""
    # Only the generator needs it: the package is in the test group.
    from grpc_tools import protoc  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

    files = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    status = cast("Any", protoc).main(
        ["protoc", f"--proto_path={SOURCES}", f"--python_out={target}", f"--pyi_out={target}", *files],
    )
    if status != 0:
        sys.exit(f"protoc ended with status {status}")
    for module in list(target.rglob("*_pb2.py*")):
        # protoc imports from where the .proto files lie, which is no package of ours.
        text = module.read_text(encoding="utf-8")
        module.write_text(_OWN_IMPORT.sub(r"from bridges.generated.\1", text), encoding="utf-8")
        for folder in (module.parent, module.parent.parent):
            (folder / "__init__.py").touch()
    (target / "__init__.py").touch()


def differences(fresh: Path, committed: Path) -> list[str]:
    """Name the generated files that are missing, stale or left over in `committed`."""

    def names(folder: Path) -> set[Path]:
        found = {path.relative_to(folder) for path in folder.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
        return {name for name in found if "__pycache__" not in name.parts}

    return [
        str(name)
        for name in sorted(names(fresh) | names(committed))
        if not ((fresh / name).exists() and (committed / name).exists())
        or not filecmp.cmp(fresh / name, committed / name, shallow=False)
    ]


def page_with_subjects(page: Path) -> str:
    """Return a page's text with the present tables of subjects in it.

    Raises:
        ValueError: It has no place for them.
    """
    # It imports the generated modules, which have to be there first.
    from bridges.subject_pages import with_tables  # noqa: PLC0415

    return with_tables(page.read_text(encoding="utf-8"))


def nats_users() -> str:
    """Return the values of NATS's chart for the users of the shipped configuration."""
    # As above.
    from bridges.permissions import chart_values, names_of  # noqa: PLC0415

    return chart_values(names_of(ROOT / CONFIG_NAME))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when something is stale")
    arguments = parser.parse_args()
    stale = _refreshed_modules(write=not arguments.check)
    texts = {SUBJECTS_PAGE: page_with_subjects(SUBJECTS_PAGE), NATS_USERS: nats_users(), **overlay_configs(ROOT)}
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    stale += [str(path.relative_to(ROOT)) for path in changed]
    if arguments.check:
        if stale:
            sys.exit(f"stale, run `uv run python -m bridges.generate`: {', '.join(stale)}")
        return
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
    print(f"{len(stale)} files changed" if stale else "nothing changed")  # noqa: T201


def _refreshed_modules(*, write: bool) -> list[str]:
    """Return the names of the stale modules, which are written anew where `write` says so."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh, TARGET)
        if write and stale:
            shutil.rmtree(TARGET, ignore_errors=True)
            shutil.copytree(fresh, TARGET)
    return stale


if __name__ == "__main__":
    main()
