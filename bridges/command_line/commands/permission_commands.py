"""`hearth permissions`: what each NATS user needs, and nothing else."""

from pathlib import Path

import click

from bridges.command_line.console import write_json, write_raw
from bridges.command_line.local.local_stack import SERVE_CONFIG
from bridges.permissions import (
    chart_values,
    installation_names,
    jwt_claims,
    server_configuration,
    settings_of,
    users_for,
)
from deployments.errors import InvalidRequestError


@click.group("permissions")
def permissions_command() -> None:
    """Print what Hearth and its clients need to be allowed."""


@permissions_command.command("nats")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=SERVE_CONFIG,
    help="What is deployed: its buckets, its stream and its answer_subjects count. Default: the shipped one.",
)
@click.option(
    "--user-id", "user_ids", multiple=True, metavar="ID", help="Print a further NATS user for this user id. Repeatable."
)
@click.option("--jwt", "form", flag_value="jwt", help="Print the claims of the users' JWTs, as JSON.")
@click.option("--chart", "form", flag_value="chart", help="Print values of NATS's Helm chart.")
def nats_command(config: Path, user_ids: tuple[str, ...], form: str | None) -> None:
    """Print the NATS server's users and their permissions.

    Without an option, it is the part "authorization" of the server's configuration. The server reads the passwords from
    environment variables. Each user may do what it needs, and nothing else.

    The server reads a variable as a part of its configuration, so put the password between single quotes there:
    HEARTH_PASSWORD="'a password'". The values of the chart put the quotes there for you.

    A NATS user for a user id asks for that user alone, and hears nothing that is for another one. It connects with an
    inbox prefix of its own: `hearth --user ID --inbox-prefix _INBOX_USER.ID chat`.
    """
    settings = settings_of(config)
    names = installation_names(settings)
    try:
        users = users_for(user_ids, settings.nats.answer_subjects)
    except InvalidRequestError as error:
        raise click.BadParameter(error.message) from error
    match form:
        case "jwt":
            write_json(jwt_claims(names, users), 2)
        case "chart":
            write_raw(chart_values(names, users))
        case _:
            write_raw(server_configuration(names, users))
