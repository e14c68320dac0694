"""One plain service for each kind of model: limits, prompts, batching around an engine.

Imports what a subject room may (see `deployments.chat`), `engines.protocols` and `listening.voice_activity`.
"""
