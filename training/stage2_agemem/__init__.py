"""Stage 2: the memory policy, trained by step-wise GRPO on desk notes (AgeMem, arXiv 2601.01885)."""
