"""Results as pictures, and boxes on images."""
