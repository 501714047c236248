"""Models that the kit did not make: saved by TensorFlow itself, or trained and published by others."""
