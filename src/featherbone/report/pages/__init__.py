"""Pages that work offline, each one file."""
