"""The table of pipelines: what a trigger may start, and with which parameters."""

from collections.abc import Mapping

from deployments.errors import InvalidRequestError, Limit, NotFoundError
from deployments.settings.pipelines import PipelineSettings
from deployments.values.pipelines import ParameterDescription, PipelineDescription

_SHOWN = 64
_MAX_PARAMETERS = 100
_MAX_CHARACTERS = 256 * 1024
"""Of all values together: a run has to fit into one NATS message where it is kept."""


class PipelineTable:
    """What triggers may start.

    Args:
        rows: By name.
    """

    def __init__(self, rows: Mapping[str, PipelineSettings]) -> None:
        # In an order of its own: what passes a configuration on, such as an operator, may sort it.
        self._rows = dict(sorted(rows.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """What may be started, in the order of the alphabet."""
        return tuple(self._rows)

    def row(self, name: str) -> PipelineSettings:
        """Return a pipeline's row.

        Raises:
            NotFoundError: There is none of this name.
        """
        row = self._rows.get(name)
        if row is None:
            known = ", ".join(self.names) or "none is configured"
            raise NotFoundError(f"there is no pipeline {name[:_SHOWN]!r}: {known}", field="pipeline")
        return row

    def target(self, name: str) -> str:
        """Return what a pipeline is called where it runs."""
        return self.row(name).target or name

    def checked(self, name: str, given: Mapping[str, str]) -> dict[str, str]:
        """Return what the engine is to be given for a trigger's parameters.

        Raises:
            NotFoundError: There is no such pipeline.
            InvalidRequestError: A parameter is unknown, missing, too long or not of its form; the message names it.
        """
        allowed = dict(sorted(self.row(name).parameters.items()))
        if len(given) > (most := max(_MAX_PARAMETERS, len(allowed))):
            raise InvalidRequestError(
                f"{len(given)} parameters are too many: pipeline {name!r} takes {len(allowed)} at most",
                field="parameters",
                limit=Limit("parameters", most, len(given)),
            )
        for parameter in sorted(given.keys() - allowed.keys()):
            takes = ", ".join(allowed) or "none"
            raise InvalidRequestError(
                f"pipeline {name!r} has no parameter {parameter[:_SHOWN]!r}; it takes {takes}",
                field=_field(parameter),
            )
        if (characters := sum(map(len, given.values()))) > _MAX_CHARACTERS:
            raise InvalidRequestError(
                f"the parameters have {characters} characters: at most {_MAX_CHARACTERS} are taken",
                field="parameters",
                limit=Limit("parameters_characters", _MAX_CHARACTERS, characters),
            )
        checked: dict[str, str] = {}
        for parameter, settings in allowed.items():
            value = given.get(parameter, settings.default)
            if value is None:
                if settings.required:
                    raise InvalidRequestError(
                        f"pipeline {name!r} needs the parameter {parameter!r}", field=_field(parameter)
                    )
                continue
            if len(value) > settings.max_characters:
                raise InvalidRequestError(
                    f"parameter {parameter!r} has {len(value)} characters: at most {settings.max_characters} are taken",
                    field=_field(parameter),
                    limit=Limit("max_characters", settings.max_characters, len(value)),
                )
            if not settings.allows(value):
                raise InvalidRequestError(
                    f"parameter {parameter!r} is {value[:_SHOWN]!r}: expected a {settings.type} "
                    f"that matches {settings.pattern!r}",
                    field=_field(parameter),
                )
            checked[parameter] = value
        return checked

    def describe(self) -> tuple[PipelineDescription, ...]:
        """Return the rows as clients may see them."""
        return tuple(
            PipelineDescription(
                name,
                row.engine,
                row.target or name,
                row.deadline_s,
                tuple(
                    ParameterDescription(parameter, settings.pattern, settings.default, settings.required)
                    for parameter, settings in sorted(row.parameters.items())
                ),
            )
            for name, row in self._rows.items()
        )


def _field(parameter: str) -> str:
    return f"parameters.{parameter[:_SHOWN]}"
