"""Who connects to NATS, by the file and the environment, and what is never shown of it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from deployments.errors import UnavailableError
from deployments.settings.environment import with_environment
from deployments.settings.orchestration import NatsSettings, OrchestrationSettings
from deployments.values.access import NatsAccess, Secret, Tls, text_without_credentials, without_credentials

FILE: dict[str, object] = {"nats": {"access": {"token_file": "/run/token", "tls": {"ca_file": "/run/ca.pem"}}}}


def access(given: dict[str, object], environment: dict[str, str]) -> NatsAccess:
    return OrchestrationSettings.model_validate(with_environment(given, environment)).nats.access.access()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, NatsAccess(token=Secret(file="/run/token"))),
        ({"NATS_CREDS": "/run/creds"}, NatsAccess(credentials=Secret(file="/run/creds"))),
        ({"NATS_NKEY": "/run/nkey"}, NatsAccess(nkey=Secret(file="/run/nkey"))),
        ({"NATS_USER": "u", "NATS_PASSWORD": "p"}, NatsAccess(user="u", password=Secret(variable="NATS_PASSWORD"))),
        ({"NATS_TOKEN": "t"}, NatsAccess(token=Secret(variable="NATS_TOKEN"))),
    ],
)
def test_who_the_environment_says_it_is_takes_the_place_of_the_file(
    environment: dict[str, str], expected: NatsAccess
) -> None:
    found = access(FILE, environment)
    assert (found.credentials, found.nkey, found.user) == (expected.credentials, expected.nkey, expected.user)
    assert (found.password, found.token) == (expected.password, expected.token)
    assert found.tls == Tls(ca_file="/run/ca.pem")


def test_certificates_of_the_environment_go_over_those_of_the_file() -> None:
    environment = {"NATS_CA": "/env/ca.pem", "NATS_CERT": "/env/cert.pem", "NATS_KEY": "/env/key.pem"}
    assert access(FILE, environment).tls == Tls("/env/ca.pem", "/env/cert.pem", "/env/key.pem")
    assert access(FILE, environment).token == Secret(file="/run/token")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"token_file": "a", "nkey_file": "b"}, "nkey and token are given"),
        ({"token_file": "a", "token_variable": "b"}, "token_file and token_variable are both given"),
        ({"user": "u"}, "user and its password go together"),
        ({"password_file": "p"}, "user and its password go together"),
        ({"tls": {"key_file": "k"}}, "which is missing"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        NatsSettings.model_validate({"access": given})


def test_a_password_in_the_url_is_shown_nowhere() -> None:
    settings = OrchestrationSettings.model_validate({"nats": {"url": "nats://hearth:p4ss@one:4222,t0ken@two"}})
    assert "p4ss" not in f"{settings!r}{settings}{settings.nats!r}"
    assert "t0ken" not in repr(settings)
    with pytest.raises(ValidationError) as raised:
        OrchestrationSettings.model_validate({"nats": {"url": ["nats://hearth:p4ss@one"]}})
    assert "nats.url" in str(raised.value)
    assert "p4ss" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://one:4222", "nats://one:4222"),
        ("nats://one:4222,tls://two", "nats://one:4222,tls://two"),
        ("nats://u:p@one,two:4222,tls://three", "nats://one,two:4222,tls://three"),
        ("nats://u:p@ss/w@one", "nats://one"),
        ("token@one:4222", "one:4222"),
        ("nats://u:p@one,tls://u:p@two", "nats://two"),
        ("nats://alice:WRO,NG@one:1", "nats://one:1"),
        ("nats://alice:WRO://NG@one:1", "nats://one:1"),
        ("alice:WRO://NG@one", "one"),
        ("nats://alice:WRO NG'\"@one", "nats://one"),
        ("nats://one?token=SECRET", "nats://one"),
        ("nats://one?token=SECRET,two", "nats://one"),
        ("nats://one?token=SEC@RET", "nats://…"),
        ("nats://u:p@one#SECRET", "nats://one"),
        ("nats://alice:SECRET", "nats://…"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("wss://u:p@one/a/path", "wss://one/a/path"),
        ("./milvus.db", "./milvus.db"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        "no answer of nats://alice:SECRET PASS@one:4222",
        """url='nats://alice:SECRET'"PASS@one:4222'""",
        "nats://alice:SECRET@PASS@one:4222",
        "nats://one:4222?token=SECRET PASS",
        "nats://alice:SECRET\nPASS@one:4222",
    ],
)
def test_an_error_that_quotes_a_url_is_shown_without_credentials(text: str) -> None:
    shown = text_without_credentials(text)
    assert "SECRET" not in shown
    assert "PASS" not in shown
    assert "one:4222" in shown


def test_a_secret_is_read_anew_and_named_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret(file=str(tmp_path / "secret"))
    with pytest.raises(UnavailableError, match=r"secret cannot be read: No such file"):
        secret.read()
    for text in ("one", "two"):
        (tmp_path / "secret").write_text(f"{text}\n")
        assert secret.read() == text
    (tmp_path / "secret").write_text(" \n")
    with pytest.raises(UnavailableError, match="is empty"):
        secret.read()
    monkeypatch.setenv("A_SECRET", "three")
    assert Secret(variable="A_SECRET").read() == "three"


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(UnavailableError, match=r"ca\.pem cannot be used for TLS"):
        Tls(ca_file=str(tmp_path / "ca.pem")).context()
    with pytest.raises(UnavailableError, match=r"tls\.certificate_file .* cannot be read"):
        Tls(certificate_file=str(tmp_path / "none.pem")).context()
