"""`hearth permissions`: what each NATS user needs, and nothing else."""

from pathlib import Path

import click

from bridges.command_line.console import write_json, write_raw
from bridges.command_line.local.local_stack import SERVE_CONFIG
from bridges.permissions import chart_values, jwt_claims, names_of, server_configuration
from bridges.subjects import is_publishable


@click.group("permissions")
def permissions_command() -> None:
    """Print what Hearth and its clients need to be allowed."""


@permissions_command.command("nats")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=SERVE_CONFIG,
    help="What is deployed: its names of buckets and of the stream count. Default: the shipped serve_config.yaml.",
)
@click.option("--user-id", default="", help="Let clients ask as this user only.")
@click.option("--jwt", "form", flag_value="jwt", help="Print the claims of the users' JWTs, as JSON.")
@click.option("--chart", "form", flag_value="chart", help="Print values of NATS's Helm chart.")
def nats_command(config: Path, user_id: str, form: str | None) -> None:
    """Print the NATS server's users and their permissions.

    Without an option, it is the part "authorization" of the server's configuration. The server reads the passwords from
    environment variables. Each user may do what it needs, and nothing else.
    """
    names = names_of(config)
    if user_id:
        if "." in user_id or not is_publishable(user_id):
            raise click.BadParameter("a user id is one token of a subject: no space, dot, '*' or '>'")
        names["user_id"] = user_id
    match form:
        case "jwt":
            write_json(jwt_claims(names), 2)
        case "chart":
            write_raw(chart_values(names))
        case _:
            write_raw(server_configuration(names))
