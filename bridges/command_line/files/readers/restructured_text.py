"""reStructuredText, as Markdown, with the directives and roles of Sphinx and others."""

import re
from pathlib import Path
from typing import Any, cast

from docutils import core, nodes
from docutils.parsers.rst import Directive, directives, roles

from bridges.command_line.files.readers.encoding import decode
from bridges.command_line.files.readers.extracted import Extracted
from bridges.command_line.files.readers.web_page import markdown_of, page_of
from deployments.values.documents import TextFormat

_DIRECTIVE = re.compile(r"^\s*\.\.(?:\s+\|[^|]+\|)?\s+([\w:.+-]+)::", re.MULTILINE)
_ROLE = re.compile(r":([\w:.+-]+):`|`:([\w:.+-]+):")
_TARGET = re.compile(r"^(?P<title>.+?)\s*<[^<>]+>$", re.DOTALL)
_LITERAL = frozenset("code-block sourcecode code literalinclude prompt doctest testcode parsed-literal".split())
_ELSEWHERE = frozenset("toctree contents highlight currentmodule module meta index raw include".split())
_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "input_encoding": "unicode",
    "output_encoding": "unicode",
    "embed_stylesheet": False,
    "stylesheet_path": None,
    "doctitle_xform": True,
    "sectsubtitle_xform": False,
    "smart_quotes": False,
    "syntax_highlight": "none",
    "toc_backlinks": False,
    "line_length_limit": 1_000_000,
}


class _AnyOption(dict[str, Any]):
    """Options of any name."""

    def __missing__(self, key: str) -> Any:
        return directives.unchanged


class _Text(Directive):
    """A directive that is not known: its argument and its content are text."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: Any = _AnyOption()

    def run(self) -> list[nodes.Node]:
        said = [nodes.paragraph("", self.arguments[0])] if self.arguments else []
        inner = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, inner, match_titles=True)
        return [*said, *inner.children]


class _Code(_Text):
    """A directive whose content is code; its argument is the language."""

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        return [nodes.literal_block(code, code)] if code else []


class _Elsewhere(_Text):
    """A directive that leads elsewhere."""

    def run(self) -> list[nodes.Node]:
        return []


def read_restructured_text(file: Path) -> Extracted:
    """Read reStructuredText. Files that it includes are not read."""
    decoded = decode(file.read_bytes())
    _make_known(decoded.text)
    html = str(cast("Any", core).publish_string(decoded.text, writer="html5", settings_overrides=_SETTINGS))
    page = page_of(html)
    title = page.title.get_text(" ", strip=True) if page.title else ""
    return Extracted(markdown_of(page.body or page), TextFormat.MARKDOWN, title, decoded.guesses)


def _make_known(text: str) -> None:
    """Tell docutils about each directive and role of a text that it does not know."""
    # There is no other way to ask.
    known_directives = cast("Any", directives)._directive_registry  # noqa: SLF001
    known_roles = cast("Any", roles)._role_registry  # noqa: SLF001
    for name in set(_DIRECTIVE.findall(text)):
        local = name.rsplit(":", 1)[-1]
        if local in _ELSEWHERE:
            directives.register_directive(name, _Elsewhere)
        elif local in _LITERAL:
            directives.register_directive(name, _Code)
        elif name not in known_directives:
            directives.register_directive(name, _Text)
    for found in _ROLE.findall(text):
        name = found[0] or found[1]
        if name not in known_roles:
            cast("Any", roles).register_local_role(name, _role)


def _role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Return what a role that is not known shows: its text, or the title in front of its target."""
    del name, lineno, inliner, options, content
    titled = _TARGET.match(text)
    shown = (titled["title"] if titled else text).lstrip("~!")
    return [nodes.inline(rawtext, shown)], []
