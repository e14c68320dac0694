"""Ingestion: from a document to embedded chunks in a collection.

A subject room: see `deployments.chat` for what it may import.
"""
