"""Ingestion on the wire: IngestRequest to a document, a report to IngestResponse; and documents out again."""

from bridges.generated.hearth.v1 import documents_pb2
from bridges.nats.reply import Reply
from bridges.operations.outcome import Outcome
from deployments.call import Call
from deployments.errors import HearthError
from deployments.services import IngestionService
from deployments.values.documents import Document, DocumentPosition, TextFormat

_FORMATS = {
    documents_pb2.TEXT_FORMAT_UNSPECIFIED: TextFormat.PLAIN,
    documents_pb2.TEXT_FORMAT_PLAIN: TextFormat.PLAIN,
    documents_pb2.TEXT_FORMAT_MARKDOWN: TextFormat.MARKDOWN,
}


class IngestHandler:
    """Answers IngestRequests with the ingestion of the graph."""

    def __init__(self, ingestion: IngestionService) -> None:
        self._ingestion = ingestion

    async def handle(self, call: Call, request: documents_pb2.IngestRequest, reply: Reply) -> Outcome:
        """Answer one request."""
        report = await self._ingestion.ingest(
            call,
            Document(
                source=request.source,
                text=request.text,
                title=request.title,
                format=_FORMATS.get(request.format, TextFormat.PLAIN),
                collection=request.collection,
                position=DocumentPosition(
                    request.position.chunk_index,
                    tuple(request.position.headings),
                    request.position.version,
                    request.position.page,
                ),
                more_follows=request.more_follows,
                digest=request.digest,
            ),
        )
        following = documents_pb2.IngestPosition(
            chunk_index=report.next.chunk_index,
            headings=report.next.headings,
            version=report.next.version,
            page=report.next.page,
        )
        response = documents_pb2.IngestResponse(chunks=report.chunks, next=following, removed=report.removed)
        await reply.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: documents_pb2.IngestRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that failed."""
        del request
        await reply.finish(documents_pb2.IngestResponse(error=error.message, error_type=error.kind))


class DeleteHandler:
    """Answers DeleteRequests with the ingestion of the graph."""

    def __init__(self, ingestion: IngestionService) -> None:
        self._ingestion = ingestion

    async def handle(self, call: Call, request: documents_pb2.DeleteRequest, reply: Reply) -> Outcome:
        """Answer one request."""
        removed = await self._ingestion.delete(call, request.collection, request.source)
        response = documents_pb2.DeleteResponse(removed=removed)
        await reply.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: documents_pb2.DeleteRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that failed."""
        del request
        await reply.finish(documents_pb2.DeleteResponse(error=error.message, error_type=error.kind))


class ListDocumentsHandler:
    """Answers ListDocumentsRequests with the ingestion of the graph."""

    def __init__(self, ingestion: IngestionService) -> None:
        self._ingestion = ingestion

    async def handle(self, call: Call, request: documents_pb2.ListDocumentsRequest, reply: Reply) -> Outcome:
        """Answer one request."""
        listing = await self._ingestion.documents(call, request.collection, request.prefix)
        response = documents_pb2.ListDocumentsResponse(too_many=listing.too_many, exists=listing.exists)
        for document in listing.documents:
            response.documents.add(source=document.source, chunks=document.chunks, digest=document.digest)
        await reply.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: documents_pb2.ListDocumentsRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that failed."""
        del request
        await reply.finish(documents_pb2.ListDocumentsResponse(error=error.message, error_type=error.kind))
