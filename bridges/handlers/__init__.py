"""One handler for each request of the subject table: decode, call the graph, encode.

Imports `sessions`, `pipelines`, `nats`, `operations` and `subjects`; never `live`.
"""
