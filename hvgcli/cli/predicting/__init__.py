"""What a call of `hvg predict` is made of."""
