"""`athena-olmoe-nano`: its corpus, its tokenizer, its training, its evaluation."""
