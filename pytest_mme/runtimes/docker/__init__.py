"""The Docker runtime: any image that speaks the container contract."""
