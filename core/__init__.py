"""Values, errors, contracts and configuration that every other package may import."""
