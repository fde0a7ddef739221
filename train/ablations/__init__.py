"""The ablations: variants of stage 2 that the cascade is compared with, their training, scores and tables."""
