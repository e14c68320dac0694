"""What services say to each other: frozen values, free of protobuf, NATS, Ray and model libraries.

Imports `errors` and `text` alone.
"""
