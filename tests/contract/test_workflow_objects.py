"""What is sent to the workflow engines is what their definitions take."""

from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from bridges.workflows.argo_server import submission
from bridges.workflows.kubeflow import run_of
from bridges.workflows.kubernetes import workflow_of
from bridges.workflows.naming import run_name
from deployments.settings.pipelines import ArgoServerSettings, KubeflowSettings, KubernetesSettings, PipelineSettings
from deployments.values.pipelines import Run
from tests.workflow_engines.argo import schema_faults

# Argo Server's WorkflowSubmitRequest, as far as a template is submitted with it.
_TEXT = {"type": "string"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"}
SUBMISSION = {
    "type": "object",
    "properties": {
        "namespace": _TEXT,
        "resourceKind": {"enum": ["WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow"]},
        "resourceName": {"type": "string", "minLength": 1},
        "submitOptions": {
            "type": "object",
            "properties": {
                "name": NAME,
                "generateName": _TEXT,
                "entryPoint": _TEXT,
                "serviceAccount": _TEXT,
                "labels": {"type": "string", "pattern": r"^[\w./-]+=[\w.-]{0,63}(,[\w./-]+=[\w.-]{0,63})*$"},
                "parameters": {"type": "array", "items": {"type": "string", "pattern": "="}},
            },
            "additionalProperties": False,
        },
    },
    "required": ["resourceKind", "resourceName"],
    "additionalProperties": False,
}

# Kubeflow's v2beta1 Run, as far as a client may give it.
KUBEFLOW_RUN = {
    "type": "object",
    "properties": {
        "display_name": {"type": "string", "minLength": 1, "maxLength": 128},
        "description": _TEXT,
        "experiment_id": {"type": "string", "minLength": 1},
        "service_account": _TEXT,
        "pipeline_version_reference": {
            "type": "object",
            "properties": {"pipeline_id": {"type": "string", "minLength": 1}, "pipeline_version_id": _TEXT},
            "required": ["pipeline_id"],
            "additionalProperties": False,
        },
        "runtime_config": {
            "type": "object",
            "properties": {"parameters": {"type": "object"}, "pipeline_root": _TEXT},
            "additionalProperties": False,
        },
    },
    "required": ["display_name", "pipeline_version_reference"],
    "additionalProperties": False,
}

RUNS = [
    Run("r1", "documents", "argo", "document-ingestion", {"source": "s3://a=b", "empty": ""}, "", "", 0.0, 1.0),
    Run("ü" * 500, "documents", "argo", "a" * 200, {}, "", "", 0.0, 1.0),
    Run("a,b=c d", "documents", "argo", "Ünlikely_Name.", {"text": 'line\nline, "quoted"'}, "", "", 0.0, 1.0),
]


def ids(run: Run) -> str:
    return run.request_id[:10]


@pytest.mark.parametrize("run", RUNS, ids=ids)
@pytest.mark.parametrize("account", ["", "pipelines"])
def test_the_workflow_is_one_by_argo_s_definition(run: Run, account: str) -> None:
    settings = KubernetesSettings(kind="kubernetes", service_account=account)
    workflow = workflow_of(run, settings)
    assert schema_faults(workflow) == []
    jsonschema.Draft202012Validator(NAME).validate(workflow["metadata"]["name"])
    assert all(len(value) <= 63 for value in workflow["metadata"]["labels"].values())


@pytest.mark.parametrize(
    "break_it",
    [
        lambda workflow: workflow["spec"].update(template="x"),
        lambda workflow: workflow["spec"]["arguments"]["parameters"].append({"name": "a", "value": 1}),
        lambda workflow: workflow["spec"]["arguments"]["parameters"].append({"value": "a"}),
        lambda workflow: workflow["spec"].update(workflowTemplateRef="x"),
    ],
    ids=["unknown field", "a value that is no text", "a parameter without a name", "wrong type"],
)
def test_the_definition_would_find_a_fault(break_it: Any) -> None:
    workflow = workflow_of(RUNS[0], KubernetesSettings(kind="kubernetes"))
    break_it(workflow)
    assert schema_faults(workflow)


@pytest.mark.parametrize("run", RUNS, ids=ids)
@pytest.mark.parametrize("account", ["", "pipelines"])
def test_a_submission_is_what_argo_server_reads(run: Run, account: str) -> None:
    settings = ArgoServerSettings(kind="argo-server", service_account=account)
    jsonschema.Draft202012Validator(SUBMISSION).validate(submission(run, settings))


@pytest.mark.parametrize("run", RUNS, ids=ids)
@pytest.mark.parametrize("experiment", ["", "e1"])
def test_a_run_is_what_kubeflow_reads(run: Run, experiment: str) -> None:
    row = PipelineSettings.model_validate(
        {"engine": "kubeflow", "parameters": {"source": {}, "top_k": {"type": "integer"}}}
    )
    asked = replace(run, parameters={**run.parameters, "top_k": "3"})
    body = run_of(asked, "7e0f", row, KubeflowSettings(experiment_id=experiment))
    jsonschema.Draft202012Validator(KUBEFLOW_RUN).validate(body)
    assert body["runtime_config"]["parameters"]["top_k"] == 3
    # A row that was taken out of the table since the trigger was kept.
    assert run_of(asked, "7e0f", None, KubeflowSettings())["runtime_config"]["parameters"]["top_k"] == "3"


def test_names_follow_from_the_template_and_the_request_alone() -> None:
    assert run_name("document-ingestion", "r1") == run_name("document-ingestion", "r1")
    assert run_name("document-ingestion", "r1") != run_name("document-ingestion", "r2")
    assert run_name("document-ingestion", "r1").startswith("document-ingestion-")
    assert run_name("", "r1").startswith("run-")
