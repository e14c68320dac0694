"""The engines that the settings name."""

from bridges.workflows.argo_server import ArgoServer
from bridges.workflows.kubeflow import Kubeflow
from bridges.workflows.kubernetes import KubernetesWorkflows
from deployments.pipelines.ports import WorkflowEngine
from deployments.settings.pipelines import ArgoServerSettings, PipelinesSettings


def workflow_engines(settings: PipelinesSettings) -> dict[str, WorkflowEngine]:
    """Return the engines that the table's rows may name."""
    argo = settings.argo
    return {
        "argo": ArgoServer(argo) if isinstance(argo, ArgoServerSettings) else KubernetesWorkflows(argo),
        "kubeflow": Kubeflow(settings.kubeflow, settings.table),
    }
