"""What became of a request: one line of the log, as JSON, without a word of what was said unless that is asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

_ENCODER = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        error_kind: The kind of error that its answer tells of; empty where all went well.
        request_id: The client's id of it; empty where it gave none.
        tokens: Tokens of the answer.
        thought_tokens: Tokens that the model thought before it, by an estimate.
        answer_bytes: Size of the final message.
        stages_s: Seconds that each stage took, by name.
        text: What was asked and answered, by name. It is written only where the settings ask for it.
        error: What its client was told of the error.
        heard_s: Seconds of sound that it brought.
    """

    error_kind: str = ""
    request_id: str = ""
    tokens: int = 0
    answer_bytes: int = 0
    stages_s: Mapping[str, float] = field(default_factory=dict[str, float])
    text: Mapping[str, str] = field(default_factory=dict[str, str])
    error: str = ""
    thought_tokens: int = 0
    heard_s: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in logs and metrics: the error's kind, or "ok"."""
        return self.error_kind or "ok"

    def log_line(
        self, *, subject: str, trace_id: str, request_bytes: int, seconds: float, with_text: bool = False
    ) -> str:
        """Return the request's line of the log.

        Args:
            subject: Its pattern, not the concrete subject.
            trace_id: Hearth's own id of the request, which its calls carry through the graph: that of its trace, where
                it has one.
            request_bytes: Size of its payload.
            seconds: From its arrival to its final message.
            with_text: Write what was asked and answered, too, and what its client was told of an error.
        """
        stages = {f"{name}_s": round(stage, 4) for name, stage in self.stages_s.items()}
        fields: dict[str, object] = {
            "event": "request",
            "subject": subject,
            "outcome": self.name,
            "seconds": round(seconds, 4),
            "trace_id": trace_id,
            "request_id": self.request_id,
            "request_bytes": request_bytes,
            "answer_bytes": self.answer_bytes,
            "tokens": self.tokens,
            "thought_tokens": self.thought_tokens,
            **stages,
            **({"error": self.error} if with_text and self.error else {}),
            **(self.text if with_text else {}),
        }
        return _ENCODER.encode(fields)
