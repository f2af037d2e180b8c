"""The language model: OLMoE, what it is told, and what it is asked."""
