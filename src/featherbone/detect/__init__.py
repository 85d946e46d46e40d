"""Detection on any backbone: necks that fuse its maps, and torchvision's detectors over the same maps."""
