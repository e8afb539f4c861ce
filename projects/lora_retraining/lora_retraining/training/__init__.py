"""Train an adapter: rows as batches, the adapter itself, the Trainer around both, and its monitors."""
