"""Texts as such: sentences, words, what can be spoken.

Imports `errors` and `values` alone.
"""
