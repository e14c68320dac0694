"""Deployments of `ray.serve.llm` (`LLMServer`), called by a process that has neither vLLM nor SGLang.

An `LLMServer` takes pydantic objects that only a process with vLLM can make, and answers with such objects; importing
them takes half a minute and 690 MB. Here:

* A request is an `LLMRequest`, which turns into the pydantic object where it is unpickled: in the replica.
* Answers are unpickled to stand-ins with the same attributes, once `read_answers_without_vllm` was called.

Both rest on the names of modules inside Ray and vLLM. `tests/integration/test_llm_server.py` holds them against Ray's
real `LLMServer`. What is written down here was read in Ray 2.60, `ray/llm/_internal/serve/core/`.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import pkgutil
import sys
import types
from collections.abc import AsyncGenerator, Callable, MutableSequence, Sequence
from contextlib import aclosing
from io import BytesIO
from typing import Any, Protocol, cast

from deployments.call import Call
from deployments.engines.back_end import BackEndErrors
from deployments.errors import UpstreamFailedError

_MODELS = "ray.llm._internal.serve.core.configs.openai_api_models"
"""Where Ray defines requests and answers. Importing it fails where neither vLLM nor SGLang is installed."""
_VLLM = "vllm"
_EVENT = "data:"
_ENGINE_DEAD = "EngineDeadError"
"""What vLLM raises from the death of its engine until Serve has replaced the replica."""
_SERVER_ERROR = 500


class LLMRequest:
    """A request to an `LLMServer`.

    It has the attributes that Ray's `PrefixCacheAffinityRouter` looks at in the caller: `messages` and `prompt`.

    Args:
        kind: Ray's class, such as "ChatCompletionRequest".
        fields: Of that class. A field that it refuses is told by the replica as an unreadable request.
    """

    def __init__(self, kind: str, **fields: object) -> None:
        self.messages = fields.get("messages")
        self.prompt = fields.get("prompt")
        self._kind = kind
        self._fields = fields

    def build(self) -> Any:
        """Return Ray's object, in a process that can import its class.

        Raises:
            ValueError: The class refuses a field.
        """
        return pkgutil.resolve_name(self._validator)(self._fields)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return NamedElsewhere(self._validator), (self._fields,)

    @property
    def _validator(self) -> str:
        return f"{_MODELS}:{self._kind}.model_validate"


class NamedElsewhere:
    """Something that is unpickled to what bears a name there; nothing here need know it.

    Args:
        name: As `pkgutil.resolve_name` takes it, such as "fastapi:UploadFile".
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: object) -> object:
        """Refuse to be called: pickle wants something callable, and calls it only where it is unpickled."""
        raise TypeError(f"{self._name} is to be called where it is unpickled, not with {arguments}")

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pkgutil.resolve_name, (self._name,)


class Upload:
    """A file in a request: `fastapi.UploadFile` where it is unpickled.

    Args:
        data: Its bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return NamedElsewhere("fastapi:UploadFile"), (BytesIO(self._data),)


class LLMServer(Protocol):
    """What is asked of an `LLMServer`, or of what stands in its replica; see `DeployedModel`."""

    @property
    def description(self) -> str: ...

    def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]: ...

    async def check(self) -> None: ...


def _unheeded(status: int, said: str) -> None:
    del status, said


class LLMServerModel:
    """One model behind an `LLMServer`.

    Args:
        server: The deployment.
        model: The model's id there.
        errors: What its failures mean.
    """

    def __init__(self, server: LLMServer, model: str, errors: BackEndErrors) -> None:
        self.model = model
        self.errors = errors
        self._server = server
        read_answers_without_vllm()

    @property
    def description(self) -> str:
        """The model and where it is, for status and logs."""
        return f"{self.model} by {self._server.description}"

    async def answer(
        self, call: Call, method: str, request: LLMRequest, refused: Callable[[int, str], None] = _unheeded
    ) -> Any:
        """Return the one item that a method answers a request with.

        Args:
            call: Whose deadline holds.
            method: Of the server.
            request: Its argument.
            refused: Is told the status and the words of a refusal before it is logged and raised.

        Raises:
            HearthError: The server failed, or refused the request.
        """
        # Every method of an LLMServer is a generator, also where it makes one item: `stream=False` is a TypeError.
        async with aclosing(self._items(call, method, request, refused)) as items:
            async for item in items:
                return item
        raise self.errors.nonsense("nothing")

    async def events(
        self, call: Call, method: str, request: LLMRequest, refused: Callable[[int, str], None] = _unheeded
    ) -> AsyncGenerator[str]:
        """Yield the data of the events that a streamed method makes: JSON, and `DONE` at the end.

        Args:
            call: Whose deadline holds.
            method: Of the server.
            request: Its argument.
            refused: Is told the status and the words of a refusal before it is logged and raised.

        Raises:
            HearthError: The server failed or refused the request.
        """
        async with aclosing(self._items(call, method, request, refused)) as items:
            async for item in items:
                # The replica collects what is made in `stream_batching_interval_ms`, and sends it as one list.
                for text in cast("list[Any]", item) if isinstance(item, list) else [item]:
                    for data in _events_of(text, self.errors):
                        yield data

    async def check(self) -> None:
        """Raise `UnavailableError` where no replica of the server runs."""
        await self._server.check()

    async def _items(
        self, call: Call, method: str, request: LLMRequest, refused: Callable[[int, str], None] = _unheeded
    ) -> AsyncGenerator[Any]:
        try:
            async with aclosing(self._server.stream(call, method, request)) as items:
                async for item in items:
                    self._raise_refusal(item, refused)
                    yield item
        except UpstreamFailedError as error:
            if type(error.__cause__).__name__ == _ENGINE_DEAD:
                raise self.errors.away("is away") from error
            raise

    def _raise_refusal(self, item: Any, refused: Callable[[int, str], None]) -> None:
        """Raise what an item stands for that is an error and not an answer: an `ErrorResponse`, alone or in a list."""
        items = cast("list[Any]", item if isinstance(item, list) else [item])
        first: Any = items[0] if items else None
        if type(first).__name__ == "ErrorResponse":
            status, said = _status_of(first.error), _said_by(first.error)
            refused(status, said)
            raise self.errors.refusal(status, said)


def read_answers_without_vllm() -> bool:
    """Let answers of an `LLMServer` be unpickled in this process, where vLLM is not installed.

    Stand-ins take the place of the classes of vLLM, and of those of Ray that cannot be imported without it. They have
    the attributes of what was pickled. Classes of exceptions are stood for by exceptions, so that one that is raised
    over a handle arrives as what it is.

    Returns:
        Whether stand-ins are in use; False where vLLM is installed and the real classes are read.
    """
    if any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        return True
    if importlib.util.find_spec(_VLLM) is not None:
        return False
    sys.meta_path.append(_StandInFinder())
    sys.modules.setdefault(_MODELS, _StandInModule(_MODELS))
    return True


class StandIn:
    """What a pickled object held, whose class is not installed here."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        # Pydantic pickles an object as the members of its `__dict__` beside some of its own.
        members = cast("dict[str, Any]", state if isinstance(state, dict) else {"state": state})
        self.__dict__.update(members.get("__dict__", members))


class StandInError(Exception):
    """An exception whose class is not installed here."""


class _StandInModule(types.ModuleType):
    """A module that has every class that is asked for."""

    # A package, so that its submodules are looked for.
    __path__: MutableSequence[str] = []  # noqa: RUF012 - what the import system expects

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        base = StandInError if name.endswith(("Error", "Exception", "Overflow")) else StandIn
        made = type(name, (base,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for each module of vLLM; last on the path, so that what is installed goes first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != _VLLM and not fullname.startswith(f"{_VLLM}."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        del module


def _events_of(text: Any, errors: BackEndErrors) -> list[str]:
    """Return the data of the server-sent events in what a server made; it makes whole events."""
    if not isinstance(text, str):
        raise errors.nonsense(f"{type(text).__name__} where a piece of an answer was expected")
    lines = text.split("\n")
    return [line.removeprefix(_EVENT).strip() for line in lines if line.startswith(_EVENT)]


def _status_of(error: Any) -> int:
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else _SERVER_ERROR


def _said_by(error: Any) -> str:
    members = ("type", "message", "param")
    return json.dumps({name: str(getattr(error, name)) for name in members if getattr(error, name, None)})
