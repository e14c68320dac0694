"""Ingests documents into Milvus, in a process that a test may kill: `python -m … URI COLLECTION GENERATION SEED`."""

import asyncio
import hashlib
import random
import sys
from collections.abc import Sequence

import numpy as np

from deployments.call import Call
from deployments.ingestion.service import Ingestion
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.documents import MilvusDocuments
from deployments.settings.orchestration import MilvusSettings
from deployments.values.documents import Document
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors, unit_length

DOCUMENTS = 8
DIMENSIONS = 32
_WAIT_S = 60.0


class HashedEmbeddings:
    """Makes a vector of each text's hash, at once."""

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        del call
        return embedded(texts)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return ComponentStatus("Embeddings", ready=True, detail="hashes")


def embedded(texts: Sequence[str]) -> Vectors:
    digests = [hashlib.sha256(text.encode()).digest()[:DIMENSIONS] for text in texts]
    return unit_length(np.array([list(digest) for digest in digests], np.float32) - 127.5)


def source_of(number: int) -> str:
    return f"{number}.txt"


def paragraphs(number: int, generation: int) -> list[str]:
    """Return the paragraphs of a document, each of which makes a chunk; no two generations have as many."""
    return [
        f"Document {number}, generation {generation}, paragraph {at}. " + "word " * 70
        for at in range(40 + 30 * number + 7 * generation)
    ]


async def main(uri: str, collection: str, generation: int, seed: int) -> None:
    documents = MilvusDocuments(MilvusConnection(uri))
    ingestion = Ingestion(HashedEmbeddings(), documents, MilvusSettings(collection=collection))
    numbers = list(range(DOCUMENTS))
    random.Random(seed).shuffle(numbers)
    for number in numbers:
        text = "\n\n".join(paragraphs(number, generation))
        await ingestion.ingest(Call.within(_WAIT_S), Document(source_of(number), text))
        print(number, flush=True)
    await documents.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
