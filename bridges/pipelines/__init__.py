"""A replica of the pipelines service: its triggers, its runs, the other replicas.

Imports `nats`, `workflows`, `operations` and `subjects`.
"""
