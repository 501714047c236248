"""TensorFlow without its Python package: the C API of the shared libraries in TensorFlow's own wheel."""
