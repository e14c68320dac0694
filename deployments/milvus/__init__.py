"""Milvus behind retrieval and ingestion: its schema, its passages, its documents.

A subject room: see `deployments.chat` for what it may import.
"""
