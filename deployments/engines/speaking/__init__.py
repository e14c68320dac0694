"""Text to speech, and the folder of voices.

Imports what `deployments.engines` may, but settings.
"""
