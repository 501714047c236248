"""The memory of the workers: how much they may use, how that is enforced, what is admitted."""
