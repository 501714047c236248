"""The embedded multi-model server: it serves the container contract, with one process per model, without Docker."""
