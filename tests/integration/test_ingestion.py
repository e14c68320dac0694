"""Ingestion broken off anywhere: what is found is whole, and the same run again finishes it."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil
import pytest

from deployments.call import Call
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.passages import MilvusPassages
from tests.integration.ingestion_process import DIMENSIONS, DOCUMENTS, source_of, texts_of
from tests.servers import ROOT, free_port, milvus_server

ALL = 16_000


@pytest.fixture
def collection() -> str:
    return f"test_{uuid4().hex}"


def start(uri: str, collection: str, generation: int, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.ingestion_process", uri, collection, str(generation), str(seed)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(uri: str, collection: str, generation: int, seed: int = 0) -> None:
    _, errors = (process := start(uri, collection, generation, seed)).communicate(timeout=60)
    assert process.returncode == 0, errors


async def found(uri: str, collection: str) -> dict[str, set[str]]:
    """Return the texts of all passages that are found, by their document."""
    passages = MilvusPassages(MilvusConnection(uri))
    texts: dict[str, set[str]] = defaultdict(set)
    hits = await passages.search(Call.within(20.0), collection, "", np.ones(DIMENSIONS, np.float32), ALL)
    await passages.close()
    for passage in hits:
        assert passage.text not in texts[passage.source], "found twice"
        texts[passage.source].add(passage.text)
    return texts


async def generations(uri: str, collection: str) -> list[int]:
    """Return the generation that each document is found in, 0 for none; fail where one is found in part."""
    texts = await found(uri, collection)
    made: list[int] = []
    for number in range(DOCUMENTS):
        there = texts[source_of(number)]
        generation = next((one for one in (1, 2) if there == texts_of(number, one)), 0)
        assert generation or not there, f"{source_of(number)} is found in part: {len(there)} chunks"
        made.append(generation)
    return made


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_process_that_is_killed_leaves_each_document_whole(milvus_uri: str, collection: str, seed: int) -> None:
    finish(milvus_uri, collection, 1)
    assert await generations(milvus_uri, collection) == [1] * DOCUMENTS
    chance = random.Random(seed)
    for attempt in range(4):
        process = start(milvus_uri, collection, 2, attempt)
        assert process.stdout is not None
        process.stdout.readline()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert 0 not in await generations(milvus_uri, collection), "the version before answers meanwhile"
    finish(milvus_uri, collection, 2)
    assert await generations(milvus_uri, collection) == [2] * DOCUMENTS


async def test_a_milvus_that_is_killed_leaves_each_document_whole(tmp_path: Path, collection: str) -> None:
    port = free_port()
    with milvus_server(tmp_path, port) as uri:
        finish(uri, collection, 1)
        process = start(uri, collection, 2, 7)
        assert process.stdout is not None
        process.stdout.readline()
        for server in psutil.Process().children(recursive=True):
            if "milvus-lite" in " ".join(server.cmdline()):
                server.kill()
        process.communicate(timeout=60)
        assert process.returncode != 0
    with milvus_server(tmp_path, port) as uri:
        assert 0 not in await generations(uri, collection)
        finish(uri, collection, 2)
        assert await generations(uri, collection) == [2] * DOCUMENTS
