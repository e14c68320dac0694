"""Answers of models that take no time, from pipecat's WebSocket server, and the client that asks for them.

Run twice by `tests/benchmarks/conversations.py` in an environment of its own, as `server` and as `client`: two
processes. The server reads its options, one JSON object, and says when it listens. The client reads the URL and how
much sound an answer has; for each line that it then reads it sends one frame of sound, and prints the seconds to the
first sound that comes back once all of it is there.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import websockets
from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
)
from pipecat.frames.protobufs import frames_pb2
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.server import (
    SingleClientWebsocketServerParams,
    SingleClientWebsocketServerTransport,
)
from pipecat.workers.runner import WorkerRunner

_LONGEST_S = 60.0
_CHUNK_S = 0.04
"""What is sent together; less than that at the end of an answer is kept back."""


class Hearing(FrameProcessor):
    """Hears the same question in every frame of sound, at once."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            messages = [{"role": "user", "content": self._question}]
            await self.push_frame(LLMContextFrame(LLMContext(messages)))
        else:
            await self.push_frame(frame, direction)


class Writing(FrameProcessor):
    """Writes the same answer to everything, a token after the other."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self._tokens = re.findall(r"\s*[\w'-]+|[^\w\s]", answer)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for token in self._tokens:
            text = LLMTextFrame(token)
            # Tokens bring their own spaces, as those of pipecat's services do.
            text.includes_inter_frame_spaces = True
            await self.push_frame(text)
        await self.push_frame(LLMFullResponseEndFrame())


class Speaking(TTSService):
    """Says each sentence in one chunk."""

    def __init__(self, rate: int, word_s: float) -> None:
        super().__init__(sample_rate=rate, push_start_frame=True, push_stop_frames=True)
        self._rate = rate
        self._word = int(rate * word_s).to_bytes(2, "little") * int(rate * word_s)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame]:
        sound = self._word * len(text.split())
        yield TTSAudioRawFrame(sound, self._rate, 1, context_id=context_id)


async def serve(options: dict[str, Any]) -> None:
    params = SingleClientWebsocketServerParams(
        audio_in_enabled=True, audio_out_enabled=True, serializer=ProtobufFrameSerializer()
    )
    transport = SingleClientWebsocketServerTransport(params, host="127.0.0.1", port=options["port"])
    steps = [Hearing(options["question"]), Writing(options["answer"]), Speaking(options["rate"], options["word_s"])]
    worker = PipelineWorker(
        Pipeline([transport.input(), *steps, transport.output()]), cancel_on_idle_timeout=False, enable_rtvi=False
    )

    @transport.event_handler("on_websocket_ready")
    async def on_websocket_ready(_transport: SingleClientWebsocketServerTransport) -> None:
        print(json.dumps({"ready": True}), flush=True)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def ask(options: dict[str, Any]) -> None:
    question = frames_pb2.Frame()
    question.audio.audio = bytes(640)
    question.audio.sample_rate = 16_000
    question.audio.num_channels = 1
    async with websockets.connect(options["url"]) as connection:
        print(json.dumps({"ready": True}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            asked_at, first_at, seconds = time.monotonic(), 0.0, 0.0
            await connection.send(question.SerializeToString())
            async with asyncio.timeout(_LONGEST_S):
                while seconds < options["seconds"] - _CHUNK_S:
                    audio = frames_pb2.Frame.FromString(await connection.recv()).audio
                    first_at = first_at or (time.monotonic() if audio.audio else 0.0)
                    seconds += len(audio.audio) / 2 / (audio.sample_rate or 1)
            print(json.dumps({"first_sound_s": first_at - asked_at}), flush=True)


logger.remove()
role = {"server": serve, "client": ask}[sys.argv[1]]
asyncio.run(role(json.loads(sys.argv[2])))
