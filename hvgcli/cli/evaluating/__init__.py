"""What a call of `hvg evaluate` is made of, for each kind of model and for folders."""
