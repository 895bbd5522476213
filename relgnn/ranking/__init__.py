"""Filtered ranks, classification metrics and statistics over seeds: pure functions."""
