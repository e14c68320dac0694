"""Options that several commands have."""

from math import isfinite

import click

TIMEOUT_HELP = "How many seconds to wait."

nats_option = click.option(
    "--nats",
    "nats_url",
    metavar="URL",
    help="NATS server. Default: NATS_URL, or else the server that `hearth up` started.",
)


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
