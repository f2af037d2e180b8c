"""Loads models without the bars, tables and warnings of other libraries.

Owns what transformers may say while it loads: nothing. What goes wrong becomes an error of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within the block transformers draws no bar, prints no table and warns of no future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        before = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity(transformers_logging.CRITICAL)
        try:
            yield
        finally:
            transformers_logging.set_verbosity(before)
