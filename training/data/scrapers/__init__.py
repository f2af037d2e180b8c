"""Scrapers: text and figures from public sources, each item with the time it became public."""
