"""Kernels: how products, attention and dropout are computed; arrays in, arrays out."""
