"""SavedModels that TensorFlow's Python package writes, in processes of its own."""
