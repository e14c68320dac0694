"""A million payloads: whatever arrives on a subject is answered, ends nothing else, and leaves no memory behind."""
