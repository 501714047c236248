"""The container contract: what the platform may ask of a server, and a client that asks it."""
