"""Question answering: SQuAD's files and scores, windows of long contexts, answers, and the task."""
