"""What a run is called on its engine: names that follow from its request id, so that none is started twice."""

import hashlib
import re

_LABEL_CHARACTERS = 63
_DIGITS = 10
MANAGED_BY = "app.kubernetes.io/managed-by"
REQUEST = "hearth/request"


def run_name(target: str, request_id: str) -> str:
    """Return the name of the workflow that a request starts: its template with a suffix.

    It can stand as a Kubernetes object's name and as a label, whatever the request id is made of.

    >>> run_name("document-ingestion", "r1")
    'document-ingestion-66fa39b3ed'
    """
    suffix = request_digest(request_id)[:_DIGITS]
    stem = re.sub(r"[^a-z0-9.-]", "-", target.lower())[: _LABEL_CHARACTERS - _DIGITS - 1].strip("-.")
    return f"{stem or 'run'}-{suffix}"


def request_digest(request_id: str) -> str:
    """Return the digest by which a workflow's label tells whose it is."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:32]


def labels(request_id: str) -> dict[str, str]:
    """Return the labels of the workflow that a request starts."""
    return {MANAGED_BY: "hearth", REQUEST: request_digest(request_id)}
