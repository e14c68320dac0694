"""The tables of subjects on a page, made from the table of subjects. `python -m bridges.generate` writes them."""

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from bridges.generated.messages.v1 import messages_pb2
from bridges.requests import REQUESTS, Request
from bridges.subjects import SUBJECTS, Direction, Role, Subject

BEGIN, END = "<!-- subjects -->", "<!-- /subjects -->"
"""What stands around the tables on a page."""


def tables() -> str:
    """Return the tables as Markdown: requests, answers, and what replicas, operators and the server need."""
    taken = {request.subject for request in REQUESTS}
    asked = [_request_cells(request) for request in REQUESTS]
    answers = [_answer_cells(row) for row in SUBJECTS if row.direction is Direction.ANSWER]
    inner = [_inner_cells(row) for row in SUBJECTS if row not in taken and row.direction is not Direction.ANSWER]
    parts = (
        "Requests, from clients to Hearth:",
        _table(("subject", "message", "answered with", "delivery", "taken by", "meaning"), asked),
        "Answers, from Hearth to clients:",
        _table(("subject", "message", "delivery", "sent by", "meaning"), answers),
        "What operators ask, what replicas tell each other, what they ask of the NATS server. No client needs these:",
        _table(("subject", "message", "delivery", "sent by", "read by", "meaning"), inner),
    )
    return "\n\n".join(parts)


def with_tables(page: str) -> str:
    """Return a page with the present tables between its markers.

    Raises:
        ValueError: It has not exactly one pair of markers.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs {BEGIN} once, and {END} once behind it")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _request_cells(request: Request) -> tuple[str, ...]:
    subject = request.subject
    message = _messages(subject.messages) or "any"
    return (
        _code(subject.pattern),
        message,
        _answered_with(request),
        _delivery(subject),
        request.taken_by,
        subject.about,
    )


def _answered_with(request: Request) -> str:
    """Return the messages of the answers, each with its subject, and what comes on the reply subject alone."""
    parts = [f"{_messages(answer.messages)} on {_code(answer.pattern)}" for answer in request.answers]
    told = {message for answer in request.answers for message in answer.messages}
    if request.response is not None and request.response not in told:
        parts.append(f"{_messages([request.response])} on the reply subject")
    return "; ".join(parts) or "nothing"


def _answer_cells(row: Subject) -> tuple[str, ...]:
    return (_code(row.pattern), _messages(row.messages) or "any", _delivery(row), _roles(row.publishers), row.about)


def _inner_cells(row: Subject) -> tuple[str, ...]:
    return (
        _code(row.pattern),
        _messages(row.messages) or "no protobuf",
        _delivery(row),
        _roles(row.publishers),
        _roles(row.subscribers),
        row.about,
    )


def _delivery(row: Subject) -> str:
    return ", ".join(row.delivery)


def _roles(roles: Iterable[Role]) -> str:
    return ", ".join(sorted(roles))


def _messages(messages: Iterable[type[Message]]) -> str:
    """Return the messages' names: those of the wire contract bare, Hearth's own with their package."""
    contract = messages_pb2.DESCRIPTOR
    found = [message.DESCRIPTOR for message in messages]
    return ", ".join(_code(one.name if one.file is contract else one.full_name) for one in found)


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
