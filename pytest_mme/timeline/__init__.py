"""What happened: events, what was observed of requests and loads, which models were in memory, and when."""
