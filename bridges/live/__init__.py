"""Live sessions: sound in, transcripts and spoken answers out, while both sides talk.

Imports `sessions`, `nats`, `operations` and `subjects`; never `handlers`.
"""
