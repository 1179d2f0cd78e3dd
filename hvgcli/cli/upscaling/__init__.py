"""What a call of `hvg upscale` is made of."""
