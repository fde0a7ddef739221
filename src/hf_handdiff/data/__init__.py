"""Data: the schema of a hand corpus, reading and augmenting it, and the synthetic corpus."""
