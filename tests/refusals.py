"""Errors are compared by their kind and their fields: what they say is for people, and may be said better."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from deployments.errors import HearthError

E = TypeVar("E", bound=HearthError)


@contextmanager
def refused(kind: type[E], **fields: object) -> Generator[pytest.ExceptionInfo[E]]:
    """Expect an error of a kind, whose fields have these values.

    Args:
        kind: Its class.
        fields: Attributes of the error, such as `field="top_k"` or `limit=Limit("milvus.max_keep", 20, 21)`.
    """
    with pytest.raises(kind) as raised:
        yield raised
    assert {name: getattr(raised.value, name) for name in fields} == fields
