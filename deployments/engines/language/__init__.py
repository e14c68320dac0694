"""Language models: llama.cpp in process, or a server of the chat completions API.

Imports what `deployments.engines` may, but settings.
"""
