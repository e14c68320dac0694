"""Pipelines: what may be started, its runs, and the ports to engines and to where runs are kept.

A subject room: see `deployments.chat` for what it may import.
"""
