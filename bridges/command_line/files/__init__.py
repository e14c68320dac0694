"""Files into documents, and documents into collections.

Imports `client`.
"""
