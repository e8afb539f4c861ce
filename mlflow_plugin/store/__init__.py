"""The tracking store and the artifact store: what is written there and how it is read back."""
