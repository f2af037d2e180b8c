"""Stage 2: the memory policy, by step-wise GRPO on desk notes and a run's events (arXiv 2601.01885)."""
