"""Who the command line connects as: by options before or after a command's name, else by the environment."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bridges.command_line import main as main_module
from bridges.command_line.client import NatsServer
from bridges.command_line.commands.options import access_of
from bridges.command_line.main import cli
from deployments.errors import InvalidRequestError
from deployments.values.access import NATS_ACCESS_VARIABLES, NatsAccess, Secret, Tls


@pytest.fixture
def creds(tmp_path: Path) -> str:
    (tmp_path / "me.creds").write_text("…")
    return str(tmp_path / "me.creds")


def server_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> NatsServer:
    """Return the server that `hearth status` would have asked."""
    asked: list[NatsServer] = []

    async def status(server: NatsServer, timeout_s: float) -> None:
        asked.append(server)

    monkeypatch.setattr(main_module, "_status", status)
    CliRunner().invoke(cli, list(arguments))
    return asked[0]


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_options_say_who_connects(monkeypatch: pytest.MonkeyPatch, creds: str, before: bool) -> None:
    monkeypatch.setenv("NATS_USER", "somebody else")
    who = ["--creds", creds]
    words = [*who, "status"] if before else ["status", *who]
    server = server_of(monkeypatch, *words, "--nats", "nats://u:p@here")
    assert server.access == NatsAccess(credentials=Secret(file=creds))
    assert "u:p" not in f"{server!r}{server.shown}"


def test_what_hearth_up_started_asks_nobody(monkeypatch: pytest.MonkeyPatch, creds: str) -> None:
    class Local:
        nats_url = "nats://127.0.0.1:4222"

    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.setattr("bridges.command_line.local.state.load_state", Local)
    monkeypatch.setenv("NATS_CREDS", creds)
    assert server_of(monkeypatch, "status") == NatsServer(Local.nats_url)


@pytest.mark.parametrize(
    ("given", "environment", "access"),
    [
        ({}, {}, NatsAccess()),
        ({"nkey": "/n"}, {"NATS_CREDS": "/c"}, NatsAccess(nkey=Secret(file="/n"))),
        (
            {"user": "me"},
            {"NATS_PASSWORD": "p", "NATS_TOKEN": "t"},
            NatsAccess(user="me", password=Secret(variable="NATS_PASSWORD")),
        ),
        ({}, {"NATS_TOKEN": "t"}, NatsAccess(token=Secret(variable="NATS_TOKEN"))),
        (
            {"tlsca": "/ca"},
            {"NATS_CREDS": "/c", "NATS_CERT": "/cert", "NATS_KEY": "/key"},
            NatsAccess(credentials=Secret(file="/c"), tls=Tls("/ca", "/cert", "/key")),
        ),
    ],
)
def test_options_go_over_the_environment(
    given: dict[str, str], environment: dict[str, str], access: NatsAccess
) -> None:
    assert access_of(given, environment) == access
    assert environment.keys() <= set(NATS_ACCESS_VARIABLES)


@pytest.mark.parametrize(
    ("given", "environment", "reason"),
    [
        ({"nkey": "/n", "user": "me"}, {"NATS_PASSWORD": "p"}, "--nkey and --user each say who connects"),
        ({}, {"NATS_CREDS": "/c", "NATS_TOKEN": "t"}, "NATS_CREDS, NATS_NKEY, NATS_USER and NATS_TOKEN each say"),
        ({"user": "me"}, {}, "set NATS_PASSWORD to the password of me"),
        ({"tlskey": "/k"}, {}, "--tlscert, which is missing"),
    ],
)
def test_who_connects_is_said_in_one_way(given: dict[str, str], environment: dict[str, str], reason: str) -> None:
    with pytest.raises(click.UsageError, match=reason):
        access_of(given, environment)


@pytest.mark.parametrize(
    ("words", "variable", "prefix", "user_id"),
    [
        ([], "", "", ""),
        ([], "_INBOX_mine", "_INBOX_mine", ""),
        (["--inbox-prefix", "_INBOX_USER.alice"], "_INBOX_mine", "_INBOX_USER.alice", "alice"),
    ],
)
def test_who_has_inboxes_of_its_own_says_their_prefix(
    monkeypatch: pytest.MonkeyPatch, words: list[str], variable: str, prefix: str, user_id: str
) -> None:
    monkeypatch.setenv("NATS_INBOX_PREFIX", variable)
    server = server_of(monkeypatch, "status", "--nats", "nats://here", *words)
    assert (server.inbox_prefix, server.user_id) == (prefix, user_id)


@pytest.mark.parametrize("prefix", ["_INBOX.", "_INBOX.*", ">", "a b"])
def test_an_inbox_prefix_is_a_subject(prefix: str) -> None:
    done = CliRunner().invoke(cli, ["--inbox-prefix", prefix, "status", "--nats", "nats://here"])
    assert (done.exit_code, "inbox prefix" in done.output) == (2, True)


def test_the_permissions_of_users_are_printed(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        "applications: [{name: o, import_path: 'bridges.application:orchestration', "
        "args: {memory: {bucket: talks}, nats: {answer_subjects: [my.answers]}}}]"
    )
    printed = CliRunner().invoke(cli, ["permissions", "nats", "--config", str(config), "--user-id", "alice"]).output
    assert "password: $ALICE_PASSWORD" in printed
    assert '"$KV.talks.*"' in printed
    assert '"my.answers"' in printed
    assert '"ai.chat.user.alice.message"' in printed
    assert "password: $CLIENTS_PASSWORD" in printed
    assert """HEARTH_PASSWORD="'a password'\"""" in printed
    refused = CliRunner().invoke(cli, ["permissions", "nats", "--user-id", "a.b"])
    assert refused.exit_code == 2


ORCHESTRATION = "applications: [{import_path: 'bridges.application:orchestration', args: %s}]"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            ORCHESTRATION % "{nats: {url: 'nats://u:S3CRET@h', access: {password: S3CRET}}}",
            "args.nats.access.password: ",
        ),
        (ORCHESTRATION % "{nats: {url: nats://u:S3CRET: 3CRET@h}}", " is no YAML in line 1, column "),
        (ORCHESTRATION % "{nats: {'nats://u:S3CRET@h': 1}}", "args.nats.…: "),
        (ORCHESTRATION % "!nats://u:S3CRET@h {}", " is no YAML in line 1, column "),
        (ORCHESTRATION % "[S3CRET]", "args: settings"),
        (ORCHESTRATION % "S3CRET", "args: settings"),
        (ORCHESTRATION % "{1: S3CRET}", "args.1"),
        *(
            (ORCHESTRATION % f"{{{name}: S3CRET}}", f"{name}: settings")
            for name in ("nats", "milvus", "health", "turns")
        ),
        (ORCHESTRATION % "{nats: {access: 5}}", "nats.access: settings"),
        (ORCHESTRATION % "{pipelines: {argo: [S3CRET]}}", "pipelines.argo: settings"),
        (ORCHESTRATION % "{nats: {url: [S3CRET]}}", "args.nats.url: "),
        ("applications: S3CRET", ": applications: a list"),
        ("applications: [S3CRET]", ": applications: a list"),
        ("applications: {S3CRET: 1}", " has no application with"),
        ("S3CRET", " has no application with"),
        ("", " has no application with"),
        ("on: 2024-13-45", " is no YAML: ValueError"),
        ("a: \udcff", " is no YAML: UnicodeDecodeError"),
        (ORCHESTRATION % "{pipelines: {bucket: 'a b'}}", "args.pipelines.bucket: "),
        (ORCHESTRATION % "{pipelines: {stream: 'x.>'}}", "args.pipelines.stream: "),
        (ORCHESTRATION % "{memory: {bucket: '*'}}", "args.memory.bucket: "),
        (ORCHESTRATION % "{memory: {bucket: ''}}", "args.memory.bucket: "),
    ],
)
def test_permissions_of_what_is_no_configuration_are_not_printed(tmp_path: Path, content: str, named: str) -> None:
    config = tmp_path / "mine.yaml"
    config.write_bytes(content.encode(errors="surrogateescape"))
    done = CliRunner().invoke(cli, ["permissions", "nats", "--config", str(config)])
    assert isinstance(done.exception, InvalidRequestError)
    assert str(config) in done.exception.message
    assert named in done.exception.message
    assert "3CRET" not in f"{done.exception.message}{done.output}"
    assert done.exception.__suppress_context__ or done.exception.__context__ is None
