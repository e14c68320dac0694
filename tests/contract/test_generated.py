"""The committed protobuf modules are what `proto/` gives."""

from pathlib import Path

from bridges.generate import TARGET, differences, generate


def test_generated_modules_are_fresh(tmp_path: Path) -> None:
    generate(tmp_path)
    assert differences(tmp_path, TARGET) == []


def test_a_stale_module_is_named(tmp_path: Path) -> None:
    generate(tmp_path)
    stale = tmp_path / "messages" / "v1" / "messages_pb2.pyi"
    stale.write_text(stale.read_text().replace("request_id", "request_identity"))
    assert differences(tmp_path, TARGET) == ["messages/v1/messages_pb2.pyi"]
