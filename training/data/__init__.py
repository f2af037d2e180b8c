"""What training reads: the split of real data, and texts made from it."""
