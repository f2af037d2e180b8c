"""Market data, orders, the simulated broker and the one path that every mode runs through."""
