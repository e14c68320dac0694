"""Ingestion broken off anywhere: what is found is whole, and the same run again finishes it."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from deployments.call import Call
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.passages import MilvusPassages
from tests.integration.ingestion_process import DOCUMENTS, embedded, paragraphs, source_of
from tests.servers import ROOT, free_port, milvus_server


@pytest.fixture
def collection() -> str:
    return f"test_{uuid4().hex}"


def start(uri: str, collection: str, generation: int, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.ingestion_process", uri, collection, str(generation), str(seed)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(uri: str, collection: str, generation: int, seed: int = 0) -> None:
    _, errors = (process := start(uri, collection, generation, seed)).communicate(timeout=60)
    assert process.returncode == 0, errors


async def generations(uri: str, collection: str) -> list[int]:
    """Return the generation that each document is found in, 0 for none; fail where one is found in part."""
    passages = MilvusPassages(MilvusConnection(uri))
    made: list[int] = []
    for number in range(DOCUMENTS):
        found = [one for one in (1, 2) if await is_found(passages, collection, number, one)]
        assert len(found) < 2, f"{source_of(number)} is found in two versions"
        made.append(found[0] if found else 0)
    await passages.close()
    return made


async def is_found(passages: MilvusPassages, collection: str, number: int, generation: int) -> bool:
    """Say whether a document is found, looking for its first chunk, its last and some between."""
    texts = paragraphs(number, generation)
    chosen = [texts[0], *texts[1 :: len(texts) // 6], texts[-1]]
    vectors = embedded([f"{number}\n{text.strip()}" for text in chosen])
    found: list[bool] = []
    for text, vector in zip(chosen, vectors, strict=True):
        (best,) = await passages.search(Call.within(20.0), collection, "", vector, 1)
        found.append(best.text == text.strip())
    assert all(found) or not any(found), f"{source_of(number)} is found in part"
    return all(found)


@pytest.mark.parametrize("seed", [1])
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
            # Other tests have a server of their own.
            if server.cmdline()[-2:] == ["--port", str(port)]:
                server.kill()
        process.communicate(timeout=60)
        assert process.returncode != 0
    with milvus_server(tmp_path, port) as uri:
        assert 0 not in await generations(uri, collection)
        finish(uri, collection, 2)
        assert await generations(uri, collection) == [2] * DOCUMENTS
