"""Readers: each makes text of one kind of file. `extraction` says which reads what.

Imports `deployments.values`, `deployments.errors` and `deployments.text.characters`.
"""
