"""pytest-mme."""
