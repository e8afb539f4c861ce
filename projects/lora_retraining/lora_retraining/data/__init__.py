"""Tasks, chats and rows: what a model is trained on and asked."""
