"""What a trigger may start, and what it is told when it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.errors import InvalidRequestError, Limit, NotFoundError
from deployments.pipelines.table import PipelineTable
from deployments.settings.pipelines import ParameterType, PipelinesSettings, typed
from tests.refusals import refused

ROWS = {
    "document-ingestion": {
        "engine": "argo",
        "target": "ingest-documents",
        "parameters": {
            "source": {"pattern": r"s3://\S+", "required": True},
            "collection": {"default": "knowledge_base", "max_characters": 16},
            "note": {},
        },
    },
    "rag-query": {"engine": "kubeflow", "parameters": {"top_k": {"type": "integer"}, "filter": {"type": "json"}}},
}


@pytest.fixture
def table() -> PipelineTable:
    return PipelineTable(PipelinesSettings.model_validate({"table": ROWS}).table)


def test_parameters_are_given_with_the_defaults_of_those_that_are_not(table: PipelineTable) -> None:
    given = {"source": "s3://a"}
    assert table.checked("document-ingestion", given) == {"source": "s3://a", "collection": "knowledge_base"}
    given = {"source": "s3://a", "collection": "notes", "note": "x = y"}
    assert table.checked("document-ingestion", given) == given


def test_a_pipeline_runs_what_its_row_names_or_what_has_its_own_name(table: PipelineTable) -> None:
    assert table.target("document-ingestion") == "ingest-documents"
    assert table.target("rag-query") == "rag-query"


def test_an_unknown_pipeline_is_answered_with_those_that_are_known(table: PipelineTable) -> None:
    with refused(NotFoundError, field="pipeline") as raised:
        table.checked("documents", {})
    assert "document-ingestion, rag-query" in raised.value.message


@pytest.mark.parametrize(
    ("pipeline", "given", "field", "limit"),
    [
        ("document-ingestion", {}, "parameters.source", None),
        ("document-ingestion", {"source": "/etc/passwd"}, "parameters.source", None),
        ("document-ingestion", {"source": "s3://a\n"}, "parameters.source", None),
        ("document-ingestion", {"source": "s3://a", "sauce": "x"}, "parameters.sauce", None),
        ("document-ingestion", {"source": "s3://a", "": "x"}, "parameters.", None),
        (
            "document-ingestion",
            {"source": "s3://a", "collection": "x" * 17},
            "parameters.collection",
            Limit("max_characters", 16, 17),
        ),
        ("document-ingestion", {"source": "s3://a", "note": "a\x00b"}, "parameters.note", None),
        ("document-ingestion", {str(n): "" for n in range(101)}, "parameters", Limit("parameters", 100, 101)),
        (
            "document-ingestion",
            {"source": "s3://" + "x" * 300_000},
            "parameters",
            Limit("parameters_characters", 262_144, 300_005),
        ),
        ("rag-query", {"top_k": "three"}, "parameters.top_k", None),
        ("rag-query", {"filter": "{"}, "parameters.filter", None),
    ],
)
def test_what_is_wrong_with_a_parameter_is_named(
    table: PipelineTable, pipeline: str, given: dict[str, str], field: str, limit: Limit | None
) -> None:
    with refused(InvalidRequestError, field=field, limit=limit):
        table.checked(pipeline, given)


def test_a_parameter_that_is_unknown_is_answered_with_those_that_are_known(table: PipelineTable) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        table.checked("document-ingestion", {"source": "s3://a", "sauce": "x"})
    assert "collection, note, source" in raised.value.message


def test_what_is_told_of_a_long_value_is_short(table: PipelineTable) -> None:
    with pytest.raises(NotFoundError) as caught:
        table.checked("x" * 100_000, {})
    assert len(caught.value.message) < 200
    with pytest.raises(InvalidRequestError) as unknown:
        table.checked("document-ingestion", {"source": "s3://a", "y" * 100_000: ""})
    assert len(unknown.value.message) < 200
    assert len(unknown.value.field) < 100


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", ParameterType.STRING, "3"),
        ("3", ParameterType.INTEGER, 3),
        ("-0.5", ParameterType.NUMBER, -0.5),
        ("True", ParameterType.BOOLEAN, True),
        ("false", ParameterType.BOOLEAN, False),
        ('{"a": [1]}', ParameterType.JSON, {"a": [1]}),
    ],
)
def test_kubeflow_is_given_values_of_the_parameter_s_type(text: str, kind: ParameterType, value: object) -> None:
    assert typed(text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.5", ParameterType.INTEGER),
        ("nan", ParameterType.NUMBER),
        ("inf", ParameterType.NUMBER),
        ("yes", ParameterType.BOOLEAN),
    ],
)
def test_a_value_that_is_not_of_its_type_is_none(text: str, kind: ParameterType) -> None:
    with pytest.raises(ValueError, match=repr(text)):
        typed(text, kind)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"table": {"a": {"engine": "airflow"}}}, "'argo' or 'kubeflow'"),
        ({"table": {"a": {"engine": "argo", "parameters": {"p": {"pattern": "("}}}}}, "not a regular expression"),
        (
            {"table": {"a": {"engine": "argo", "parameters": {"p": {"pattern": "a", "default": "b"}}}}},
            "the default 'b'",
        ),
        (
            {"table": {"a": {"engine": "argo", "parameters": {"p": {"required": True, "default": "b"}}}}},
            "must not have a",
        ),
        ({"table": {"a": {"engine": "argo", "deadline_s": 1e6}}, "remember_s": 1e6}, "'a' has to be a day less"),
        ({"argo": {"kind": "argo-server", "url": "argo:2746"}}, "expected a URL with a host"),
        ({"argo": {"kind": "jenkins"}}, "'argo-server', 'kubernetes'"),
        ({"kubeflow": {"verfiy": False}}, "verfiy"),
    ],
)
def test_a_wrong_setting_fails_with_its_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PipelinesSettings.model_validate(settings)


def test_certificates_are_checked_unless_that_is_switched_off() -> None:
    settings = PipelinesSettings.model_validate({"argo": {"kind": "kubernetes"}})
    assert settings.argo.verify
    assert settings.kubeflow.verify
    assert settings.argo.token_file == "/var/run/secrets/kubernetes.io/serviceaccount/token"
