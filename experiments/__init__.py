"""Experiments: configurations, their results, and the scripts that turn one into the other."""
