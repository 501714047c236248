"""The table of loaded models: how they are loaded, invoked and unloaded."""
