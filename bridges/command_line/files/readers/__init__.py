"""Readers: each makes text of one kind of file. `bridges.command_line.files.extraction` says which reads what."""
