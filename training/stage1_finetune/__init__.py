"""Stage 1: fine-tuning the language model on market text and on market states with their answers."""
