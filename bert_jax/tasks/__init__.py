"""Tasks: a pretrained model and one output layer, from reading the data to the scores."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
