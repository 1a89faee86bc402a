"""Convert: checkpoints of Hugging Face, of Google's TensorFlow code and of ours, each to each."""
