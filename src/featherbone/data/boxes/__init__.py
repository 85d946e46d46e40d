"""Boxes round what is seen in images: where they come from, and how they become batches."""
