"""Answers in pipecat: the OpenAI service in front of a llama.cpp server, Piper behind it, and a sink.

Run by `tests/benchmarks/answers_aloud.py` in an environment of its own. It reads its options, one JSON object, from its
arguments, says "ready", reads the messages of one question from each line, and prints the seconds to the first sound
and the text that was written.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.frames.frames import Frame, LLMContextFrame, LLMTextFrame, TTSAudioRawFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.piper.tts import PiperTTSService
from pipecat.workers.runner import WorkerRunner

_LONGEST_S = 60.0
_QUIET_S = 1.0


class Sink(FrameProcessor):
    """Notes when the first sound comes, and when nothing more does."""

    def __init__(self) -> None:
        super().__init__()
        self.first_at = 0.0
        self.text = ""
        self.stopped = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.first_at = self.first_at or time.monotonic()
            self.stopped.clear()
        elif isinstance(frame, TTSStoppedFrame):
            self.stopped.set()
        await self.push_frame(frame, direction)


class Reader(FrameProcessor):
    """Keeps what the model writes."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self._sink.text += frame.text
        await self.push_frame(frame, direction)


async def main(options: dict[str, Any]) -> None:
    sink = Sink()
    settings = OpenAILLMService.Settings(model="any", max_tokens=options["max_tokens"], temperature=0.0)
    model = OpenAILLMService(api_key=options["api_key"], base_url=options["base_url"], settings=settings)
    voice = PiperTTSService(
        download_dir=Path(options["voice_folder"]), settings=PiperTTSService.Settings(voice=options["voice"])
    )
    worker = PipelineWorker(
        Pipeline([model, Reader(sink), voice, sink]), cancel_on_idle_timeout=False, enable_rtvi=False
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_started(_worker: PipelineWorker, _frame: Frame) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        sink.first_at, sink.text = 0.0, ""
        sink.stopped.clear()
        asked_at = time.monotonic()
        await worker.queue_frame(LLMContextFrame(LLMContext(json.loads(line))))
        async with asyncio.timeout(_LONGEST_S):
            await sink.stopped.wait()
        await asyncio.sleep(_QUIET_S)
        print(json.dumps({"first_sound_s": sink.first_at - asked_at, "text": sink.text}), flush=True)
    running.cancel()


logger.remove()
asyncio.run(main(json.loads(sys.argv[1])))
