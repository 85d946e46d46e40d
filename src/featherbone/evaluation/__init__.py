"""How good a network is on images whose answers are known, and what it says of others."""
