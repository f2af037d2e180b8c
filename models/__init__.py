"""The language model and what is built on it."""
