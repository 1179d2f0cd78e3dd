"""What the training commands share, and what a call of `hvg train-single` is made of."""
