"""One file an engine: ``load(path)`` gives a function from an image batch to the outputs, both tensors."""
