"""What serving and the doctor both need of a `model.tar.gz`: packing, unpacking, reading."""
