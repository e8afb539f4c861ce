"""What is declared, and what makes two runs the same. Never imports MLflow."""
