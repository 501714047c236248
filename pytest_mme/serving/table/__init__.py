"""The table of loaded models: how they are loaded, asked and unloaded."""
