"""A collector of OpenTelemetry spans: OTLP over HTTP with protobuf, as exporters send them."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import http_server


@dataclass
class Collector:
    """The spans that arrived, by the hexadecimal id of their trace."""

    url: str = ""
    spans: dict[str, list[Span]] = field(default_factory=dict[str, list[Span]])

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.trace_id.hex(), []).append(span)


def attributes(span: Span) -> dict[str, object]:
    """Return a span's attributes as plain values."""
    return {attribute.key: _plain(attribute) for attribute in span.attributes}


def _plain(attribute: KeyValue) -> object:
    kind = attribute.value.WhichOneof("value")
    return getattr(attribute.value, kind) if kind else None


class _Handler(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.collector.take(request)
        body = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@contextmanager
def running_collector() -> Generator[Collector]:
    """Run a collector for as long as the block lasts."""
    collector = Collector()
    with http_server(type("Handler", (_Handler,), {"collector": collector})) as collector.url:
        yield collector
