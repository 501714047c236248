"""The embedded multi-model server: speaks the container contract, one process per model, no Docker."""
