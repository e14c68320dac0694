"""Chat: from a question to the tokens of a grounded answer.

A subject room: it imports values, settings, text, call, errors, services, component_status and backoff.
"""
