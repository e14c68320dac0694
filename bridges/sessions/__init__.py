"""What belongs to a session wherever it is answered: its epoch, its stream of speech, its turns' log.

Imports `nats`, `operations` and `subjects`.
"""
