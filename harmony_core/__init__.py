"""HARMONY: a search for efficient hybrid language models."""

from harmony_core.architecture import Architecture

__all__ = ["Architecture"]
__version__ = "0.1.0"
