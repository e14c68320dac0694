"""Speech to text, voice activity, the end of a turn.

Imports what `deployments.engines` may, but settings.
"""
