"""Beside the systems others wrote: an extra suite, `pip install -e '.[test,peers]'`.

    python3.11 -m pytest tests/peers

Where torch, transformers or TensorFlow is missing, its tests skip and say so; so do those of models
whose packages are not installed (README names them).
"""
