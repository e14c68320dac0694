"""Certificates that two sides know each other by, as files, and what goes wrong with them."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

from tests.servers import LOOPBACK

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Certificates:
    """A folder with the files of one authority.

    Attributes:
        folder: Of the files.
        authority: Whoever signs.
    """

    folder: Path
    authority: trustme.CA

    @classmethod
    def of(cls, folder: Path) -> "Certificates":
        """Return the certificates of a new authority."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        return cls(folder, authority)

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def issue(self, name: str, *hosts: str, expired: bool = False) -> tuple[str, str]:
        """Return the files of a certificate and of its key; they take the place of those of the same name."""
        since, until = (LONG_AGO, LONG_AGO.replace(year=2002)) if expired else (None, None)
        issued = self.authority.issue_cert(*(hosts or (name,)), common_name=name, not_before=since, not_after=until)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for file, content in ((certificate, issued.cert_chain_pems[0]), (key, issued.private_key_pem)):
            content.write_to_path(f"{file}.new")
            Path(f"{file}.new").replace(file)
        return str(certificate), str(key)

    def of_server(self, *hosts: str, expired: bool = False, asks_clients: bool = False) -> ssl.SSLContext:
        """Return what a server answers with.

        Args:
            hosts: Whose name the certificate has; none for this machine.
            expired: Whether it is no longer valid.
            asks_clients: Whether clients need a certificate of the same authority.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
        context.load_cert_chain(*self.issue("server", *(hosts or (LOOPBACK,)), expired=expired))
        context.verify_mode = ssl.CERT_REQUIRED if asks_clients else ssl.CERT_NONE
        return context


class MountedSecret:
    """A file of a Kubernetes Secret: a link to one in a folder, in whose place another folder comes.

    Args:
        folder: Where the Secret is mounted.
        content: Of the file.
    """

    def __init__(self, folder: Path, content: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._version = 0
        self.file = str(folder / "key")
        self.put(content)
        (folder / "key").symlink_to("..data/key")

    def put(self, content: str) -> None:
        """Have the file hold something else, as the kubelet does it."""
        self._version += 1
        version = self._folder / f"..version_{self._version}"
        version.mkdir()
        (version / "key").write_text(content, encoding="utf-8")
        (self._folder / "..data_tmp").symlink_to(version.name)
        (self._folder / "..data_tmp").replace(self._folder / "..data")
