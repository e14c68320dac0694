"""The typed configuration: what `serve_config.yaml` and the environment may say.

Imports `values` alone.
"""
