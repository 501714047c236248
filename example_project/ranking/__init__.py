"""What our shops use to ask our models."""
