"""Generate, enlarge and continue short videos, and train the models that do it."""

__version__ = "0.1.0"
