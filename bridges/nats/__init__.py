"""NATS for every request: the connection, the queue group, answers, who listens, whose session is whose.

Imports `operations`, `requests` and `subjects`.
"""
