"""The version, readable without importing anything; `pyproject.toml` takes it from here."""

VERSION = "0.1.0"
