"""What operators see: outcomes, metrics, health, readiness.

Imports nothing of `bridges` but generated messages.
"""
