"""The HTTP front of the embedded server: the contract's calls, their headers, their description."""
