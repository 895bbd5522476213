"""The HTTP service: a trained run behind an API with keys, limits, batches and back-pressure."""
