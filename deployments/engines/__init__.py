"""What computes: one model library or one server behind each engine, none knows Ray.

Imports call, errors, values, models and `listening.voice_activity`; settings only where engines are built
(`*_engines`).
"""
