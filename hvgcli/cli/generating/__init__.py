"""What a call of `hvg generate` is made of, for hierarchies and for models of one clip or image."""
