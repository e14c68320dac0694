"""Listening: from sound to utterances, turns and their transcripts.

A subject room: see `deployments.chat` for what it may import.
"""
