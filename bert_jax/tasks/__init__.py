"""Tasks: a pretrained model and one output layer, from reading the data to the scores."""
