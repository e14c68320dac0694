"""Sound as it comes in: files and streams of any common kind, made into one channel of an even level.

A foundation: see `deployments.values` for what it may import. The libraries that read files are extras, and are
imported when a file is opened.
"""
