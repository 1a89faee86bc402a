"""Text: a WordPiece vocabulary, a tokenizer over it, and BERT's inputs."""
