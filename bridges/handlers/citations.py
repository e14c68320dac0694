"""Citations on the wire."""

from bridges.generated.hearth.v1 import documents_pb2
from deployments.values.retrieval import Citation


def citation_message(citation: Citation) -> documents_pb2.Citation:
    """Return a citation as a message."""
    return documents_pb2.Citation(source=citation.source, section=citation.section, page=citation.page)
