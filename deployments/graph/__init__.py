"""How services reach each other: their definitions, clients and deployments, the door to handles, batching, tracing.

Imports call, errors, services, values. The one room, with the applications built on it, that knows Ray.
"""
