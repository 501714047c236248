"""The workers' memory: its limit, how the limit is enforced, and which loads fit."""
