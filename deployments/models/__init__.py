"""Which model files there are, with their hashes, and where they lie.

Imports `errors` alone.
"""
