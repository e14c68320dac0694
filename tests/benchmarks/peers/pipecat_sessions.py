"""Live sessions in pipecat: voice activity on each, four processors that pass frames on, and a sink.

Run by `tests/benchmarks/audio_sessions.py` in an environment of its own, on one core. It reads one JSON object from its
arguments, says "ready" when every pipeline runs, begins at the time that it then reads, and prints one JSON object.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

RATE = 16_000
CHUNK_S = 0.02
CHUNK_BYTES = int(RATE * CHUNK_S) * 2


class PassOn(FrameProcessor):
    """Hands frames on, as a processor that is not asked does."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Sink(FrameProcessor):
    """Notes how late each frame of sound comes out behind the voice activity."""

    def __init__(self, late_s: list[float]) -> None:
        super().__init__()
        self._late_s = late_s
        self.began = 0.0
        self.frames = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._late_s.append(time.monotonic() - (self.began + self.frames * CHUNK_S))
            self.frames += 1
        await self.push_frame(frame, direction)


async def main(wanted: dict[str, Any], sound: bytes) -> None:
    late_s: list[float] = []
    workers: list[PipelineWorker] = []
    sinks: list[Sink] = []
    started = asyncio.Semaphore(0)
    runner = WorkerRunner(handle_sigint=False)
    for _ in range(wanted["sessions"]):
        sink = Sink(late_s)
        passing = [PassOn() for _ in range(4)]
        pipeline = Pipeline([VADProcessor(vad_analyzer=SileroVADAnalyzer(sample_rate=RATE)), *passing, sink])
        worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)

        @worker.event_handler("on_pipeline_started")
        async def on_started(_worker: PipelineWorker, _frame: Frame) -> None:
            started.release()

        await runner.add_workers(worker)
        workers.append(worker)
        sinks.append(sink)
    running = asyncio.create_task(runner.run())
    for _ in workers:
        await started.acquire()
    gc.collect()
    resident = resident_bytes()
    print(json.dumps({"ready": True, "resident_bytes": resident, "tasks": len(asyncio.all_tasks())}), flush=True)
    line = await asyncio.to_thread(sys.stdin.readline)
    begin = time.monotonic() + float(line)
    cpu = 0.0
    chunks = int(wanted["seconds"] / CHUNK_S)
    phases = [number * CHUNK_S / len(workers) for number in range(len(workers))]
    for sink, phase in zip(sinks, phases, strict=True):
        sink.began = begin + phase
    offsets = [number * 7919 * 2 % len(sound) // 2 * 2 for number in range(len(workers))]
    doubled = sound + sound
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    cpu = time.process_time()
    for chunk in range(chunks):
        for number, worker in enumerate(workers):
            due = begin + phases[number] + chunk * CHUNK_S
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            at = (offsets[number] + chunk * CHUNK_BYTES) % len(sound)
            audio = doubled[at : at + CHUNK_BYTES]
            await worker.queue_frame(InputAudioRawFrame(audio=audio, sample_rate=RATE, num_channels=1))
    deadline = time.monotonic() + 2.0
    while len(late_s) < chunks * len(workers) and time.monotonic() < deadline:  # noqa: ASYNC110 - counted, not signalled
        await asyncio.sleep(0.01)
    cpu = time.process_time() - cpu
    print(json.dumps({"cpu_s": cpu, "late_s": late_s, "expected": chunks * len(workers)}), flush=True)
    running.cancel()


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


logger.remove()
options = json.loads(sys.argv[1])
asyncio.run(main(options, Path(options["sound"]).read_bytes()))
