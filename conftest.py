"""The plugin's own tests run plugins inside tests."""

pytest_plugins = ["pytester"]
