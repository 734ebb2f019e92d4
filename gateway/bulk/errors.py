"""What can be wrong with a file of names, and with the libraries that a large one needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gateway.errors import GatewayError


class BulkRefused(GatewayError):
    """A file cannot be read or written as it was asked; the message names the line where there is one."""


def extra(module: str) -> Any:
    """A library of the optional extra ``bulk``.

    Raises:
        BulkRefused: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise BulkRefused(
            f"{module.partition('.')[0]} is not installed; it comes with pip install 'lianren[bulk]'"
        ) from None
