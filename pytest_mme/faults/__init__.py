"""Things done to a server on purpose. Each is a context manager, and undone at its end whatever happens in between."""
