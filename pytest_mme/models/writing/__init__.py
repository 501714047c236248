"""SavedModels written directly, without TensorFlow's Python package."""
