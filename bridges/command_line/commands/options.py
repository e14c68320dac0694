"""Options that several commands have."""

import click

nats_option = click.option(
    "--nats",
    "nats_url",
    metavar="URL",
    help="NATS server; else NATS_URL, else the one that `hearth up` started.",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Seconds to wait.",
)
collection_option = click.option("--collection", default="", help="Milvus collection; else the configured default.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
voice_option = click.option("--voice", default="", help="Name of the voice, see `hearth voices`; else the default one.")
language_option = click.option("--language", default="", help="ISO 639-1 code of what is spoken; else it is detected.")
