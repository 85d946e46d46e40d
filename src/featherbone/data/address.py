"""Addresses of data with a password or token in them, which is neither printed nor kept."""

from __future__ import annotations

import os

from featherbone.errors import InputError, masked

ADDRESS = "FEATHERBONE_DATA"


def remember(address: str) -> None:
    """Keep an address that has a secret in the environment of this process, which those that it starts inherit."""
    if masked(address) != address:
        os.environ[ADDRESS] = address


def in_full(address: str) -> str:
    """Return an address with the secret that was masked when it was kept.

    Raises:
        InputError: if it has not been given again.
    """
    if "***" not in address:
        remember(address)
        return address
    known = os.environ.get(ADDRESS, "")
    if masked(known) != address:
        raise InputError(
            f"{address} cannot be opened: what is *** was not kept; give the whole address again, in the environment "
            f"variable {ADDRESS}"
        )
    return known
