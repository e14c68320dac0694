"""How services reach each other: the door to handles, its clients, batching, tracing, what a replica does first.

Imports call, errors, services, values. The one room, with the applications built on it, that knows Ray.
"""
