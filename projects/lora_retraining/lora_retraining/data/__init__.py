"""Read, make and encode the tasks and rows that a model is trained on and asked."""
