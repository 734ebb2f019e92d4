"""Reading DICOM without a word: what pydicom has to say of a file repeats what stands in it.

Loading it takes most of a second and reading a long note a tenth, so it is done beside the event loop, in one
thread for the whole process: what makes it silent is no thread's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

READER = ThreadPoolExecutor(1, "dicom")
"""Where files are read, one after another."""


def load() -> None:
    """Load what reads DICOM; else the first reading does."""
    import pydicom.config  # noqa: F401


def deflated(data: bytes) -> bool:
    """Whether this may be a deflated file (PS3.5 A.5): nobody knows what it unpacks to."""
    return b"1.2.840.10008.1.2.1.99" in data


@contextmanager
def quietly() -> Iterator[None]:
    """No value is judged, no warning given and nothing logged; for one thread at a time."""
    from pydicom.config import disable_value_validation, logger

    was = logger.disabled
    try:
        logger.disabled = True
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was
