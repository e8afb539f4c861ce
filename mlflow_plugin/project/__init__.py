"""The declared project and the identity of a run: by it two runs count as the same. Never imports MLflow."""
