"""The engines that the settings name."""

from bridges.workflows.argo_server import ArgoServer
from bridges.workflows.kubeflow import Kubeflow
from bridges.workflows.kubernetes import KubernetesWorkflows
from deployments.pipeline_settings import ArgoServerSettings, PipelinesSettings
from deployments.workflow_engine import WorkflowEngine


def workflow_engines(settings: PipelinesSettings) -> dict[str, WorkflowEngine]:
    """Return the engines that the table's rows may name."""
    argo = settings.argo
    return {
        "argo": ArgoServer(argo) if isinstance(argo, ArgoServerSettings) else KubernetesWorkflows(argo),
        "kubeflow": Kubeflow(settings.kubeflow, settings.table),
    }
