"""``python -m featherbone``, which is how ``torchrun`` starts it."""

from featherbone.cli import main

if __name__ == "__main__":
    main()
