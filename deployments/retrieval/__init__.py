"""Retrieval: from a question to passages.

A subject room: see `deployments.chat` for what it may import.
"""
