"""How good a network is on images whose targets are known, and what it predicts for others."""
