from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TextFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEXT_FORMAT_UNSPECIFIED: _ClassVar[TextFormat]
    TEXT_FORMAT_PLAIN: _ClassVar[TextFormat]
    TEXT_FORMAT_MARKDOWN: _ClassVar[TextFormat]
TEXT_FORMAT_UNSPECIFIED: TextFormat
TEXT_FORMAT_PLAIN: TextFormat
TEXT_FORMAT_MARKDOWN: TextFormat

class IngestRequest(_message.Message):
    __slots__ = ("collection", "source", "title", "text", "format", "position", "more_follows", "digest")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MORE_FOLLOWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    collection: str
    source: str
    title: str
    text: str
    format: TextFormat
    position: IngestPosition
    more_follows: bool
    digest: str
    def __init__(self, collection: _Optional[str] = ..., source: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., format: _Optional[_Union[TextFormat, str]] = ..., position: _Optional[_Union[IngestPosition, _Mapping]] = ..., more_follows: _Optional[bool] = ..., digest: _Optional[str] = ...) -> None: ...

class IngestPosition(_message.Message):
    __slots__ = ("chunk_index", "headings", "version", "page")
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    HEADINGS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    chunk_index: int
    headings: _containers.RepeatedScalarFieldContainer[str]
    version: str
    page: int
    def __init__(self, chunk_index: _Optional[int] = ..., headings: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., page: _Optional[int] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("chunks", "next", "removed", "error", "error_type")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    chunks: int
    next: IngestPosition
    removed: int
    error: str
    error_type: str
    def __init__(self, chunks: _Optional[int] = ..., next: _Optional[_Union[IngestPosition, _Mapping]] = ..., removed: _Optional[int] = ..., error: _Optional[str] = ..., error_type: _Optional[str] = ...) -> None: ...

class Citation(_message.Message):
    __slots__ = ("source", "section", "page")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    source: str
    section: str
    page: int
    def __init__(self, source: _Optional[str] = ..., section: _Optional[str] = ..., page: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "source")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    source: str
    def __init__(self, collection: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("removed", "error", "error_type")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    removed: int
    error: str
    error_type: str
    def __init__(self, removed: _Optional[int] = ..., error: _Optional[str] = ..., error_type: _Optional[str] = ...) -> None: ...

class ListDocumentsRequest(_message.Message):
    __slots__ = ("collection", "prefix")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    collection: str
    prefix: str
    def __init__(self, collection: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    __slots__ = ("documents", "too_many", "error", "error_type", "exists")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    TOO_MANY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[StoredDocument]
    too_many: bool
    error: str
    error_type: str
    exists: bool
    def __init__(self, documents: _Optional[_Iterable[_Union[StoredDocument, _Mapping]]] = ..., too_many: _Optional[bool] = ..., error: _Optional[str] = ..., error_type: _Optional[str] = ..., exists: _Optional[bool] = ...) -> None: ...

class StoredDocument(_message.Message):
    __slots__ = ("source", "chunks", "digest")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    source: str
    chunks: int
    digest: str
    def __init__(self, source: _Optional[str] = ..., chunks: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...
