"""The commands, a module for each group of them.

Imports every other room of the command line.
"""
