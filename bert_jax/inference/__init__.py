"""Inference: a trained model at work on text."""
