"""Zip archives, which office documents and books are, read within bounds."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from deployments.errors import InvalidRequestError

_MOST_BYTES = 500_000_000
"""That the members of an archive may unpack to."""


@contextmanager
def archive_of(file: Path) -> Generator[ZipFile]:
    """Give an archive.

    Raises:
        InvalidRequestError: It is none, or holds more than is taken.
    """
    try:
        with ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > _MOST_BYTES:
                most = f"{_MOST_BYTES / 1e6:,.0f} MB"
                raise InvalidRequestError(f"it unpacks to {size / 1e6:,.0f} MB: at most {most} are taken")
            yield archive
    except BadZipFile as error:
        with file.open("rb") as content:
            is_old = content.read(8) == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        reason = "it is protected by a password, or of the format before 2007" if is_old else f"it is damaged: {error}"
        raise InvalidRequestError(reason) from error


def xml_of(content: bytes) -> Any:
    """Return the root of an XML document; what it names elsewhere is not looked up."""
    # The library carries no types.
    xml: Any = import_module("lxml.etree")
    parser = xml.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    return xml.fromstring(content, parser)
