"""Convert: checkpoints of Hugging Face, of Google's TensorFlow code and of ours, each to each."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
