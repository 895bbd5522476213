"""Calibration, positive-unlabelled estimation, fusion of views and selectors: pure functions."""
