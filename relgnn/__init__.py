"""Language models and graph networks that teach each other to complete knowledge graphs."""

__version__ = "0.1.0"
