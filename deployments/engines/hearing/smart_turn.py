"""Smart Turn: from the sound of a voice, whether its speaker has finished.

The model hears the last 8 s, shorter ones behind silence, of even loudness, as a Whisper spectrogram
(https://github.com/pipecat-ai/smart-turn). 60 ms on one core.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deployments.call import Call
from deployments.engines.hearing.log_mel import log_mel
from deployments.engines.onnx_session import open_session
from deployments.values.sound import SPEECH_RATE, Samples

_HEARD = 8 * SPEECH_RATE
_EVEN = 1e-7


class SmartTurn:
    """The model.

    Args:
        model: Its ONNX file.
        threads: Threads of one call.
    """

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        self._session = open_session(model, threads)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smart-turn")
        self.description = f"ONNX, {model.parent.name}"

    async def completion(self, call: Call, samples: Samples) -> float:
        """Return the probability that nothing more will be said in this turn."""
        call.check("judging the end of a turn")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, samples)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, samples: Samples) -> float:
        heard = np.zeros(_HEARD, np.float32)
        tail = samples[-_HEARD:]
        heard[_HEARD - len(tail) :] = tail
        even = (heard - heard.mean()) / np.sqrt(heard.var() + _EVEN)
        return float(self._session.run(None, {"input_features": log_mel(even)[None]})[0].item())
