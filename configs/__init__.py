"""Shipped configuration files, found as package data."""
