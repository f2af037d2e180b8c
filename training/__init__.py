"""What learns: the small default model, and later stages."""
