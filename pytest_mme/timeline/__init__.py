"""What happened, and how it is read: events, what was observed of requests and loads, who was in memory when."""
