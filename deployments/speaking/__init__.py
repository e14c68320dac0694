"""Speaking: from text, or a question, to sound, and what of it was heard.

A subject room: see `deployments.chat` for what it may import.
"""
