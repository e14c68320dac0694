"""The graph: services, the models that they call, and the settings that build both.

Imports nothing of `bridges`. Each room below says what it may import; tests/unit/test_architecture.py holds it.
"""
