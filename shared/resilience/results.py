"""Returned values that are failures, as a predicate of the settings sees them."""

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("holdfast.resilience")


def is_failure(predicate: Callable[[Any], bool], result: Any, whose: str) -> bool:
    """What `predicate` says of `result`. One that raises is logged under `whose`: a call that answered has answered."""
    try:
        return bool(predicate(result))
    except Exception:
        logger.exception("%s failed; counted as a success", whose)
        return False
