"""Where images come from: one format a file, each read into a listing."""
