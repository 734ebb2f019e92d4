"""The commands of ``lianren``, one module a subject."""
