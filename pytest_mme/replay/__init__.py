"""A failed test as a file, which is judged again without a server, or run again on any runtime."""
