"""A failed test as a file: judged again without a server, or run again on any runtime."""
