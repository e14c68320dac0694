"""The fault suite: clients ask at a steady rate while one part of Hearth, or of what it runs on, is broken."""
