"""What the training scripts share: the loop, the data that they draw from, losses and pictures."""
