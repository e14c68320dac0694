"""Workflow engines: Argo by its server or by Kubernetes, and Kubeflow.

Imports nothing else of `bridges`.
"""
