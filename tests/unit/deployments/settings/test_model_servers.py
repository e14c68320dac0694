"""Where a model server is, and who we are to it: what makes no sense is refused, and nothing secret is shown."""

import pytest
from pydantic import ValidationError

from deployments.settings.pipelines import ArgoServerSettings, KubernetesSettings
from deployments.settings.text_models import TeiSettings
from deployments.values.access import Secret, ServerUrl, Tls

HTTPS = {"base_url": "https://tei.test"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"base_url": "tei.test:8080"}, "expected a URL with a host"),
        ({"base_url": "ftp://tei.test"}, "expected http:// or https://"),
        ({"base_url": "https://tei.test/v1?api_key=w0rd"}, "expected nothing behind the path"),
        ({"base_url": "https://ada:p/w0rd@tei.test"}, "percent-encoded"),
        ({"base_url": "https://ada:12/w0rd@tei.test"}, "percent-encoded"),
        ({"base_url": "https://ada:w0rd\n@tei.test"}, "percent-encoded"),
        ({**HTTPS, "api_key_file": "f", "api_key_variable": "v"}, "expected one of them"),
        ({"base_url": "https://ada:w0rd@tei.test", "api_key_file": "f"}, "a user in base_url are both given"),
        ({**HTTPS, "api_key_header": "x key"}, "expected the name of a header"),
        ({**HTTPS, "api_key_header": "Host"}, "expected the name of a header"),
        ({"base_url": "http://tei.test", "tls": {"ca_file": "ca.pem"}}, "base_url is not https://"),
        ({**HTTPS, "tls": {"key_file": "k"}}, "which is missing"),
    ],
)
def test_what_makes_no_sense_is_refused_without_its_value(given: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected) as raised:
        TeiSettings.model_validate({"kind": "tei", **given})
    assert "w0rd" not in str(raised.value)


def test_a_password_in_a_url_is_shown_nowhere() -> None:
    settings = TeiSettings.model_validate({"kind": "tei", "base_url": "https://ada:w0rd@tei.test/v1"})
    argo = ArgoServerSettings.model_validate({"kind": "argo-server", "url": "https://ada:w0rd@argo.test"})
    assert "w0rd" not in f"{settings!r}{settings}{argo!r}{argo}{ServerUrl.parse(settings.base_url)!r}"
    assert "https://tei.test/v1" in repr(settings)


@pytest.mark.parametrize("url", ["https://ada:w0rd@argo.test:x", "argo.test/w0rd@"])
def test_a_url_of_an_engine_that_is_none_is_not_quoted(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ArgoServerSettings.model_validate({"kind": "argo-server", "url": url})
    assert "w0rd" not in str(raised.value)


def test_files_of_an_engine_may_stand_where_they_once_stood() -> None:
    files = {"ca_file": "ca", "certificate_file": "cert", "key_file": "key"}
    old = ArgoServerSettings.model_validate({"kind": "argo-server", **files})
    new = ArgoServerSettings.model_validate({"kind": "argo-server", "tls": files})
    assert old == new
    assert new.access("argo").tls == Tls("ca", "cert", "key")
    with pytest.raises(ValidationError, match="inside of tls and outside"):
        ArgoServerSettings.model_validate({"kind": "argo-server", "ca_file": "ca", "tls": {"ca_file": "other"}})


def test_a_pod_knows_the_kubernetes_api_unless_it_is_told_otherwise() -> None:
    files = {"certificate_file": "cert"}
    for given in ({}, files, {"tls": files}):
        settings = KubernetesSettings.model_validate({"kind": "kubernetes", **given})
        assert settings.tls.ca_file == "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    assert KubernetesSettings.model_validate({"kind": "kubernetes", "ca_file": ""}).tls.ca_file == ""


def test_a_token_of_a_variable_takes_the_place_of_the_account_of_the_pod() -> None:
    given = {"kind": "kubernetes", "token_variable": "TOKEN"}
    assert KubernetesSettings.model_validate(given).access("argo").token == Secret(variable="TOKEN")
    with pytest.raises(ValidationError, match="expected one of them"):
        KubernetesSettings.model_validate({**given, "token_file": "f"})
