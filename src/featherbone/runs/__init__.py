"""A run: what starts it, what its folder holds, what its page says, how it is repeated."""
