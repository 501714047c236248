"""The container contract: its calls, a client that makes them, and how real containers differ from it."""
