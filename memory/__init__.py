"""AgeMem: an append-only memory whose past can be read as it was known."""
