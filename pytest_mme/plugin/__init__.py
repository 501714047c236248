"""The pytest plugin: hooks, options, marks, fixtures, and what each test leaves as evidence."""
