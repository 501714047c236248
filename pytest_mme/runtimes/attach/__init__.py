"""The attach runtime: a server that somebody else has started."""
