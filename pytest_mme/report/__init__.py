"""What tests and runs report: sections of failing tests, summaries, the matrix of versions, the page."""
