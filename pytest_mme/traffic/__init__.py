"""Loads over a mix of models."""
