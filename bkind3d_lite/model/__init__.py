"""The model: encoder, lift, drawn edges, decoder, and what is asked of them."""

from .builder import build, build_model, placed
from .discoverer import Discoverer, Discovery
from .objective import Objective

__all__ = ["Discoverer", "Discovery", "Objective", "build", "build_model", "placed"]
