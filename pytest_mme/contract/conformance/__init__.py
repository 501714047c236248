"""Judges a running server by the container contract, clause by clause."""
