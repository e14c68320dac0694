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
    """Of a deployment that makes text."""

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

    def sound(self, item: Any) -> bytes | tuple[Samples, int]:
        """Return the sound in an item of the answer: a whole audio file, or samples from -1 to 1 and their rate in Hz.

        Nothing (`b""`) for an item without sound.
        """
        ...


def load_adapter(path: str, arguments: Mapping[str, Any]) -> Any:
    """Make the adapter that a setting names.

    Args:
        path: "package.module:Class". The package is one that the replica can import.
        arguments: Of the class.

    Raises:
        UnavailableError: There is no such class, or it does not take the arguments. The message names the setting.
    """
    module, separator, name = path.partition(":")
    if not separator:
        raise UnavailableError(f"engine.adapter: {path!r} is not of the form package.module:Class")
    try:
        adapter: Any = getattr(importlib.import_module(module), name)(**arguments)
    except (ImportError, AttributeError) as error:
        raise UnavailableError(f"engine.adapter: {path} cannot be imported: {error}") from error
    except TypeError as error:
        raise UnavailableError(f"engine.arguments: {path} does not take them: {error}") from error
    missing = [member for member in ("method", "streams", "request") if not hasattr(adapter, member)]
    if missing:
        raise UnavailableError(f"engine.adapter: {path} has no `{missing[0]}`")
    return adapter
