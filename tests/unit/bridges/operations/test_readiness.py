"""Whether the graph is ready, as its services say."""

from dataclasses import dataclass

from bridges.operations.readiness import Reporter, is_ready, reported
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.values.status import ComponentStatus

READY = ComponentStatus("Chat", ready=True, detail="answers questions")


@dataclass
class Service:
    """Says that it is ready, or raises."""

    error: Exception | None = None

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        if self.error:
            raise self.error
        return (READY,)


async def test_a_service_that_cannot_be_asked_is_not_ready_and_the_others_are_asked_all_the_same() -> None:
    reporters = [
        Reporter("Chat", Service(), required=True),
        Reporter("Speech", Service(UnavailableError("it is away")), required=False),
        Reporter("Pipelines", Service(RuntimeError("a fault")), required=False),
    ]
    components = await reported(reporters, Call.within(1))
    assert [(part.name, part.ready) for part in components] == [("Chat", True), ("Speech", False), ("Pipelines", False)]
    assert is_ready(components)
    assert "a fault" not in components[-1].detail
