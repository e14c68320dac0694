"""`hearth` as a person runs it: what is started, asked and stopped by its commands."""

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from bridges.command_line.client import connected
from deployments.call import Call
from deployments.engines.audio_file import decode
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.models.store import ModelStore
from deployments.values.speech import TranscriptQuality
from tests.end_to_end.command import Done, hearth, hearth_process, readme_blocks, running_hearth, typed
from tests.end_to_end.conftest import Graph
from tests.pages import README, blocks
from tests.pdf_file import pdf
from tests.servers import wait_until


def started(environment: Mapping[str, str]) -> list[psutil.Process]:
    """Return the processes that the state folder tells of and that still run."""
    path = Path(environment["HEARTH_STATE"]) / "state.json"
    if not path.exists():
        return []
    ids = [process["pid"] for process in json.loads(path.read_text())["processes"].values()]
    return [psutil.Process(pid) for pid in ids if psutil.pid_exists(pid)]


def test_a_start_that_is_interrupted_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    environment = environment | {"HEARTH_STATE": str(tmp_path)}
    with running_hearth(environment, "up") as process:
        wait_until("the first process", (tmp_path / "logs" / "ray.log").exists)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Interrupted." in errors
    assert family
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert started(environment) == []


def test_the_demo_of_the_readme_answers_from_its_documents(demo: Done) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    lines = [line.strip() for line in demo.stdout.splitlines()]
    answer = next(line for line in lines if line.startswith("Hearth ") and "over NATS" not in line)
    assert "five years" in answer
    assert "source  backups.md (How long backups are kept)" in lines
    assert [line.split()[1] for line in lines if line.startswith("✓")] == ["Models", "NATS,", "Chat", "Sample", "Graph"]
    assert "hearth down" in demo.stdout
    (shown,) = blocks(README.read_text(encoding="utf-8"), "text")
    spoken = [line for line in shown.code.splitlines() if line.startswith(("  You", "  Hearth", "  source"))]
    assert spoken
    assert set(spoken) <= set(demo.stdout.splitlines()), "the README shows what is seen"


async def test_an_independent_ear_hears_the_fact_in_what_the_demo_says(graph: Graph, models: ModelStore) -> None:
    spoken = (Path(graph.environment["HEARTH_STATE"]) / "demo" / "answer.wav").read_bytes()
    whisper = WhisperEngine(models.locate("whisper-base", "speech-to-text"), None)
    heard = await whisper.transcribe(Call.within(60), decode(spoken, 60.0), "en", TranscriptQuality.FINAL)
    await whisper.close()
    assert "five years" in heard.text.lower()


def test_the_turn_of_the_demo_is_kept(graph: Graph) -> None:
    turn = hearth(graph.environment, "turn")
    assert turn.returncode == 0, turn.stderr
    assert all(name in turn.stdout for name in ("question", "transcribe", "think", "first audio", "playback"))
    record = json.loads(hearth(graph.environment, "turn", "--json").stdout)
    assert (record["outcome"], record["turn"], record["question"]) == ("played", 1, "")


def test_a_recorded_question_is_answered_aloud(graph: Graph, tmp_path: Path) -> None:
    question = Path(graph.environment["HEARTH_STATE"]) / "demo" / "question.wav"
    asked = hearth(graph.environment, "ask", str(question), "--out", str(tmp_path / "answer.wav"))
    assert asked.returncode == 0, asked.stderr
    assert "five years" in asked.stdout
    assert (tmp_path / "answer.wav").read_bytes().startswith(b"RIFF")
    answer = json.loads(hearth(graph.environment, "ask", str(question), "--json").stdout)
    assert "five years" in answer["answer"]
    assert answer["error"] == ""


def test_a_conversation_of_recordings_can_be_interrupted(graph: Graph, tmp_path: Path) -> None:
    question = str(Path(graph.environment["HEARTH_STATE"]) / "demo" / "question.wav")
    out = tmp_path / "heard.wav"
    talked = hearth(graph.environment, "talk", question, question, "--interrupt", "1.5", "--json", "--out", str(out))
    assert talked.returncode == 0, talked.stderr
    events = [json.loads(line) for line in talked.stdout.splitlines()]
    assert [event["outcome"] for event in events if event["event"] == "turn"] == ["interrupted", "played"]
    assert sum(event["event"] == "interrupted" for event in events) == 1
    assert out.stat().st_size > 0


def test_what_the_readme_shows_after_the_demo_works(newcomer: dict[str, str], graph: Graph, tmp_path: Path) -> None:
    del graph
    done = typed(newcomer, readme_blocks()[1], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Aaltje did it" in done.stdout
    assert "notes/roof.md: 1 chunk removed" in done.stdout
    assert done.stdout.count("keeps monthly snapshots for five years") >= 2, "asked, and talked about"
    assert "interrupted after" in done.stdout
    assert (tmp_path / "answer.wav").read_bytes().startswith(b"RIFF")
    assert "ready  Hearth" in done.stdout


def test_starting_again_keeps_what_runs(graph: Graph) -> None:
    before = [process.pid for process in started(graph.environment)]
    began = time.monotonic()
    up = hearth_process(graph.environment, "up")
    assert up.returncode == 0, up.stderr
    assert [process.pid for process in started(graph.environment)] == before
    assert time.monotonic() - began < 60


def test_documents_go_in_and_answers_come_out(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# The boat\n\nThe boat is called Marlene and leaves at 7:20.")
    (tmp_path / "bad.txt").write_bytes(bytes(range(256)))
    (tmp_path / "old.bak").touch()
    (tmp_path / "crew.html").write_text("<title>Crew</title><nav>Home</nav><p>The captain is called Aaltje.</p>")
    (tmp_path / "engine.pdf").write_bytes(pdf([["The engine is a diesel from 1968."]], "The engine"))
    (tmp_path / "cut.pdf").write_bytes(pdf([["The engine is a diesel from 1968."]])[:100])
    ingested = hearth(graph.environment, "ingest", str(tmp_path), "--collection", "boats", "--json")
    report = json.loads(ingested.stdout)
    assert ingested.returncode == 1, "a bad file is told by the exit status too"
    assert (report["documents"], report["chunks"]) == (3, 3)
    failed = {Path(entry["source"]).name: entry["error"] for entry in report["failed"]}
    assert failed.keys() == {"bad.txt", "cut.pdf"}
    assert failed["bad.txt"] == "it is not text"
    assert failed["cut.pdf"].startswith("it is damaged: ")
    assert report["not_read"] == {".bak": 1}

    again = json.loads(hearth(graph.environment, "ingest", str(tmp_path), "--collection", "boats", "--json").stdout)
    assert (again["documents"], again["unchanged"], again["chunks"]) == (0, 3, 0)
    listed = hearth(graph.environment, "documents", "--collection", "boats")
    assert listed.stdout.splitlines()[-1] == "3 documents, 3 chunks"

    chat = hearth(graph.environment, "chat", "What is the boat called?", "--collection", "boats")
    assert chat.returncode == 0, chat.stderr
    assert "Marlene" in chat.stdout
    assert "good.md" in chat.stdout
    answer = json.loads(
        hearth(graph.environment, "chat", "What is the boat called?", "--collection", "boats", "--json").stdout
    )
    assert answer["success"]
    assert answer["used_rag"]
    assert "Marlene" in answer["answer"]
    for question, fact in (("What is the captain called?", "Aaltje"), ("From which year is the engine?", "1968")):
        assert fact in hearth(graph.environment, "chat", question, "--collection", "boats").stdout

    source = f"{tmp_path.name}/good.md"
    deleted = hearth(graph.environment, "delete", source, "none.md", "--collection", "boats")
    assert deleted.returncode == 1
    assert deleted.stdout.split() == [f"{source}:", "1", "chunk", "removed"]
    assert "there is no document 'none.md' in the collection 'boats'" in deleted.stderr
    gone = hearth(graph.environment, "chat", "What is the boat called?", "--collection", "boats", "--json").stdout
    assert "good.md" not in gone


def test_an_ingestion_that_is_interrupted_says_how_to_go_on_and_then_does(graph: Graph, tmp_path: Path) -> None:
    for number in range(40):
        text = "\n\n".join(f"Ship {number}, voyage {at}: it carried {at} barrels of tar home." for at in range(60))
        (tmp_path / f"{number:02}.txt").write_text(text)
    command = ["ingest", str(tmp_path), "--collection", "ships"]

    async def until_begun() -> None:
        async with asyncio.timeout(60), connected(graph.nats_url) as client:
            while not await client.documents("ships", 10):
                pass

    with running_hearth(graph.environment, *command) as process:
        asyncio.run(until_begun())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The same command goes on from here." in errors
    before = json.loads(hearth(graph.environment, "documents", "--collection", "ships", "--json").stdout)
    assert 0 < len(before) < 40
    rest = json.loads(hearth(graph.environment, *command, "--json").stdout)
    assert rest["unchanged"] >= len(before)
    assert rest["documents"] + rest["unchanged"] == 40


def test_documents_of_a_collection_that_is_not_there_are_an_error(graph: Graph) -> None:
    listed = hearth(graph.environment, "documents", "--collection", "nowhere")
    assert listed.returncode == 1
    assert listed.stderr == "Error: the collection 'nowhere' does not exist: nothing was ingested into it yet\n"


def test_a_question_that_cannot_be_answered_is_an_error_in_one_line(graph: Graph) -> None:
    chat = hearth(graph.environment, "chat", "Hi", "--collection", "nowhere")
    assert chat.returncode == 1
    assert chat.stderr == "Error: collection 'nowhere' does not exist\n"


def test_status_tells_the_truth_to_people_and_scripts(graph: Graph) -> None:
    status = hearth(graph.environment, "status")
    assert status.returncode == 0
    assert status.stdout.splitlines()[-1].startswith("ready")
    hearth(graph.environment, "chat", "Hi", "--collection", "nowhere")
    told = json.loads(hearth(graph.environment, "status", "--json").stdout)
    assert {part["name"] for part in told["components"]} >= {"NatsIngress", "LanguageModel", "Milvus"}
    deployments = {one["name"]: one for one in told["deployments"]}
    assert deployments["LanguageModel"]["running"] == 1
    assert {one["status"] for one in deployments.values()} == {"HEALTHY"}
    assert (told["in_flight"], told["waiting"]) == (1, 0), "the question itself"
    assert "not_found" in [error["error_type"] for error in told["last_errors"]]
    assert "nowhere" not in str(told["last_errors"]), "others may ask, too"


def test_a_conversation_at_a_prompt_leans_on_what_was_said(graph: Graph) -> None:
    lines = "What is the captain called?\n/sources\n/nonsense\n"
    done = hearth_process(graph.environment, "chat", "--collection", "boats", answers=lines)
    assert done.returncode == 0, done.stderr
    assert "Aaltje" in done.stdout
    assert "crew.html" in done.stdout
    assert "/nonsense is no command" in done.stdout


def test_every_part_has_a_log(graph: Graph) -> None:
    names = hearth(graph.environment, "logs").stdout.split()
    assert {"nats", "milvus", "ray", "NatsIngress", "LanguageModel", "Embeddings"} <= set(names)
    assert '"event": "request"' in hearth(graph.environment, "logs", "natsingress", "-n", "200").stdout
    assert "Server is ready" in hearth(graph.environment, "logs", "nats", "-n", "1000").stdout
    unknown = hearth(graph.environment, "logs", "nobody")
    assert unknown.returncode == 1
    assert "'nobody' has no log here; there are nats, milvus, ray" in unknown.stderr


def test_a_log_is_followed_until_ctrl_c(graph: Graph) -> None:
    with running_hearth(graph.environment, "logs", "NatsIngress", "--follow", "-n", "1") as process:
        assert process.stdout
        assert process.stdout.readline()
        hearth(graph.environment, "status")
        while '"subject": "hearth.status"' not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.strip()) == (130, "Interrupted.")


def test_the_doctor_finds_nothing_broken_in_what_runs(graph: Graph) -> None:
    done = hearth(graph.environment, "doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert {findings[name]["verdict"] for name in ("NATS", "JetStream", "Graph", "Models", "Servers")} == {"well"}


@pytest.mark.ends_the_graph
def test_down_ends_every_process(graph: Graph) -> None:
    family = [
        member for process in started(graph.environment) for member in [process, *process.children(recursive=True)]
    ]
    assert len(family) > 10
    down = hearth_process(graph.environment, "down")
    assert (down.returncode, down.stdout.strip()) == (0, "Stopped.")
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert hearth(graph.environment, "down").stdout.strip() == "Nothing was running."
