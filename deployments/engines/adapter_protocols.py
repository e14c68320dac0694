"""Adapters: how a deployment that is not Hearth's wants to be called, and what its answers hold.

An adapter knows the shapes and nothing else. The call by handle, its deadline, its cancellation and its errors are in
`deployments.engines.binding`. A class is one of these protocols when it has the members; it need not
name them. Whatever an adapter raises over an answer means that the deployment sent something else than was expected.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from deployments.errors import UnavailableError
from deployments.values.language import Generation, Message, Piece
from deployments.values.sound import Samples
from deployments.values.speech import SpeechText


class Arguments:
    """What a method is called with: `Arguments("hello", top_k=5)`. Everything in it can be pickled."""

    def __init__(self, *positional: object, **named: object) -> None:
        self.positional = positional
        self.named = named


class Adapter(Protocol):
    """What all adapters have.

    Attributes:
        method: The deployment's method, such as "generate"; "__call__" for the deployment itself.
        streams: Whether the method is a generator, whose items are taken as they are made. Else its answer is one.
    """

    method: str
    streams: bool


class LanguageModelAdapter(Adapter, Protocol):
    """Of a deployment that makes text.

    One that has `tells_end = True` returns pieces with an `end`; an answer that stops without one was then broken off.
    """

    def request(self, messages: Sequence[Message], generation: Generation) -> Arguments:
        """Return what the method is called with."""
        ...

    def text(self, item: Any) -> str | Piece:
        """Return the text in an item of the answer; empty where there is none in it.

        An adapter that knows more returns a `Piece`: what is a thought, and why the answer ended.
        """
        ...


class EmbeddingsAdapter(Adapter, Protocol):
    """Of a deployment that turns texts into vectors."""

    def request(self, texts: Sequence[str]) -> Arguments:
        """Return what the method is called with."""
        ...

    def vectors(self, answer: Any) -> Sequence[Sequence[float]]:
        """Return the vectors in the order of the texts: an array or lists; Hearth gives them the length 1."""
        ...


class RerankerAdapter(Adapter, Protocol):
    """Of a deployment that says how well passages fit a question."""

    def request(self, query: str, passages: Sequence[str]) -> Arguments:
        """Return what the method is called with."""
        ...

    def scores(self, answer: Any) -> Sequence[float]:
        """Return the score of each passage, in the order in which they were given; higher is better."""
        ...


class SpeechToTextAdapter(Adapter, Protocol):
    """Of a deployment that writes down what is said."""

    def request(self, samples: Samples, language: str) -> Arguments:
        """Return what the method is called with.

        Args:
            samples: At most 30 s of sound: float32 from -1 to 1, 16 kHz, mono. `deployments.values.sound` makes 16-bit
                samples of them (`pcm_of`), and a WAV file of those (`wav_file`).
            language: ISO 639-1 code; empty where it is to be detected.
        """
        ...

    def text(self, answer: Any) -> str:
        """Return the words."""
        ...


class TextToSpeechAdapter(Adapter, Protocol):
    """Of a deployment that speaks."""

    def request(self, sentence: SpeechText) -> Arguments:
        """Return what the method is called with. `sentence.voice` is one of the voices in the configuration."""
        ...

    def sound(self, item: Any) -> bytes | tuple[Any, int]:
        """Return the sound in an item of the answer: a whole audio file, or samples and their rate in Hz.

        Samples are an array or a list of floats from -1 to 1, or of 16-bit integers. Of several channels, of shape
        (samples, channels) or (channels, samples), the mean is heard. All items of an answer have one rate. Nothing
        (`b""`) for an item without sound.
        """
        ...


def load_adapter(path: str, arguments: Mapping[str, Any], reader: str) -> Any:
    """Make the adapter that a setting names.

    Args:
        path: "package.module:Class". The package is one that the replica can import.
        arguments: Of the class.
        reader: The method that reads answers in the adapter's role, such as "text".

    Raises:
        UnavailableError: There is no such class, it does not take the arguments, or it is no adapter for the role. The
            message names the setting.
    """
    adapter = _made(_class_at(path), path, arguments)
    for name in ("request", reader):
        if not callable(getattr(adapter, name, None)):
            raise UnavailableError(f"engine.adapter: {path} has no method `{name}`, which an adapter here needs")
    if not isinstance(method := getattr(adapter, "method", None), str) or not method:
        raise UnavailableError(f"engine.adapter: `method` of {path} is {method!r}; the name of a method was expected")
    if not isinstance(streams := getattr(adapter, "streams", None), bool):
        raise UnavailableError(f"engine.adapter: `streams` of {path} is {streams!r}; True or False was expected")
    return adapter


def _class_at(path: str) -> type[Any]:
    module, separator, name = path.partition(":")
    if not separator or not module or module.startswith("."):
        raise UnavailableError(f"engine.adapter: {path!r} is not of the form package.module:Class")
    try:
        found: object = getattr(importlib.import_module(module), name)
    except Exception as error:  # of whatever kind: an import runs the module
        raise UnavailableError(f"engine.adapter: {path} cannot be imported: {_told(error)}") from error
    if not isinstance(found, type):
        raise UnavailableError(f"engine.adapter: {path} is of the type {type(found).__name__}; a class was expected")
    return found


def _made(adapter: type[Any], path: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return adapter(**arguments)
    except Exception as error:  # of whatever kind: the class is not Hearth's
        raise UnavailableError(f"engine.arguments: {path} does not take them: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Return an error with its class, unless that is the usual one."""
    usual = isinstance(error, ImportError | AttributeError | TypeError)
    return str(error) if usual else f"{type(error).__name__}: {error}"
