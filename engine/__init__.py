"""Purser's engine."""
