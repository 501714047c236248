"""The local runtime: the embedded server in a process of its own."""
