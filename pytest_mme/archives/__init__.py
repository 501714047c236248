"""Archives, `model.tar.gz`: packing, unpacking and reading them, for serving and for the doctor."""
