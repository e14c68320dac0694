"""Options that several commands have."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

import click

from bridges.command_line.client import NatsServer
from bridges.command_line.local import state
from bridges.subjects import is_publishable
from deployments.values.access import NatsAccess, Secret, Tls

TIMEOUT_HELP = "How many seconds to wait."

Command = Callable[..., Any]

_NATS = "nats_url"
_ACCESS = "nats access"
"""Under which a group's options of access are known to its commands."""
_FILE = click.Path(exists=True, dir_okay=False)
_WHO = {
    "--creds": ("FILE", "NATS credentials file of who connects. Default: NATS_CREDS.", _FILE),
    "--nkey": ("FILE", "File with the seed of an nkey. Default: NATS_NKEY.", _FILE),
    "--user": ("NAME", "User; the password is read from NATS_PASSWORD. Default: NATS_USER.", str),
}
_INBOX = {
    "--inbox-prefix": (
        "PREFIX",
        "Under which answers are heard, such as _INBOX_USER.alice. Default: NATS_INBOX_PREFIX.",
        str,
    ),
}
_TLS = {
    "--tlsca": ("FILE", "Authorities that the NATS server's certificate is checked with. Default: NATS_CA.", _FILE),
    "--tlscert": ("FILE", "Client certificate. Default: NATS_CERT.", _FILE),
    "--tlskey": ("FILE", "Its key. Default: NATS_KEY.", _FILE),
}


def take_access(group: click.Group) -> None:
    """Have a group take who connects to NATS, and its commands, too, where they have no other option of the name."""
    group.params.extend(_access_options(hidden=False))
    for command in group.commands.values():
        _take_access_behind(command)


def _take_access_behind(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _take_access_behind(inner)
    elif any(parameter.name == _NATS for parameter in command.params):
        taken = {name for parameter in command.params for name in parameter.opts}
        command.params.extend(option for option in _access_options(hidden=True) if not taken & set(option.opts))


def nats_option(command: Command) -> Command:
    """Have a command take a NATS server, and be called with it, a `NatsServer`, as `server`.

    Who connects may be said before the command's name, or after.
    """

    @functools.wraps(command)
    def with_server(*arguments: Any, nats_url: str | None, **others: Any) -> Any:
        return command(*arguments, server=chosen_server(nats_url), **others)

    option = click.option(
        "--nats",
        _NATS,
        metavar="URL",
        help="NATS server. Default: NATS_URL, or else the server that `hearth up` started.",
    )
    return option(with_server)


def chosen_server(url: str | None = None) -> NatsServer:
    """Return the NATS server that is meant, and who connects, by the options given, else by the environment."""
    local = None if url or os.environ.get("NATS_URL") else state.load_state()
    if local:
        # What `hearth up` started asks nobody who connects.
        return NatsServer(local.nats_url)
    context = click.get_current_context(silent=True)
    given: Mapping[str, str] = context.meta.get(_ACCESS, {}) if context else {}
    return NatsServer(state.nats_url(url), access_of(given, os.environ), _inbox_prefix(given, os.environ))


def _inbox_prefix(given: Mapping[str, str], environment: Mapping[str, str]) -> str:
    prefix = given.get("inbox_prefix", environment.get("NATS_INBOX_PREFIX", ""))
    if prefix and not is_publishable(prefix):
        raise click.UsageError(f"the inbox prefix {prefix!r} is no subject such as _INBOX_USER.alice")
    return prefix


def access_of(given: Mapping[str, str], environment: Mapping[str, str]) -> NatsAccess:
    """Return who connects: as the options say, else as the environment does.

    Args:
        given: The options that were given, by their names without dashes.
        environment: Variables by name.

    Raises:
        click.UsageError: That is said in two ways, or a part is missing.
    """
    around = NatsAccess.from_environment(environment)
    access = around
    if who := [option.removeprefix("--") for option in _WHO if option.removeprefix("--") in given]:
        user = given.get("user", "")
        access = NatsAccess(
            credentials=Secret(file=given.get("creds", "")),
            nkey=Secret(file=given.get("nkey", "")),
            user=user,
            password=Secret(variable="NATS_PASSWORD") if user else Secret(),
        )
    if len(access.ways) > 1:
        source = " and ".join(f"--{name}" for name in who) or "NATS_CREDS, NATS_NKEY, NATS_USER and NATS_TOKEN"
        raise click.UsageError(f"{source} each say who connects: give one of them")
    if access.user and not environment.get("NATS_PASSWORD"):
        raise click.UsageError(f"set NATS_PASSWORD to the password of {access.user}")
    tls = Tls(
        given.get("tlsca", around.tls.ca_file),
        given.get("tlscert", around.tls.certificate_file),
        given.get("tlskey", around.tls.key_file),
    )
    if tls.key_file and not tls.certificate_file:
        raise click.UsageError("--tlskey is the key of --tlscert, which is missing")
    return replace(access, tls=tls)


def _access_options(*, hidden: bool) -> list[click.Option]:
    return [
        click.Option(
            [name], type=kind, metavar=metavar, help=help_text, hidden=hidden, expose_value=False, callback=_kept
        )
        for name, (metavar, help_text, kind) in (_WHO | _INBOX | _TLS).items()
    ]


def _kept(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name:
        context.meta[_ACCESS] = {**context.meta.get(_ACCESS, {}), parameter.name: value}


def finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse what `click.FloatRange` lets pass: a number that is none, and one without end."""
    del context, parameter
    if value is not None and not isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    callback=finite,
    default=60.0,
    show_default=True,
    help=TIMEOUT_HELP,
)
collection_option = click.option("--collection", default="", help="Milvus collection. Default: the configured one.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
voice_option = click.option(
    "--voice", default="", help="Name of a voice; `hearth voices` lists them. Default: the configured one."
)
language_option = click.option(
    "--language", default="", help="Language that is spoken, as an ISO 639-1 code such as en. Default: it is detected."
)
