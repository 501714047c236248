"""What models need: memory, load time, latency, and how many of them fit."""
