"""The graph on one machine: started, stopped, looked at; its models fetched.

Imports `sound` and `client`, `console`.
"""
