"""Microphone, loudspeaker, and what is said over them.

Imports `client`, `console` and `sessions.turn_log`.
"""
