"""What tests share; tests/README.md lists what is where."""
