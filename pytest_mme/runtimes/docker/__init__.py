"""The Docker runtime: any image that implements the container contract."""
