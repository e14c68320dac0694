"""Embeddings and reranking: ONNX models in process, or servers.

Imports what `deployments.engines` may, but settings.
"""
