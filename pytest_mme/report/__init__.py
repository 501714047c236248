"""What a failing test shows."""
