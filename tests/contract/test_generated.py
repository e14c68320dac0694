"""What is made from something else is committed as it would be made: protobuf modules, and what overlays deploy."""

from pathlib import Path

from bridges.generate import ROOT, TARGET, differences, generate
from bridges.overlay_configs import overlay_configs


def test_generated_modules_are_fresh(tmp_path: Path) -> None:
    generate(tmp_path)
    assert differences(tmp_path, TARGET) == []


def test_a_stale_module_is_named(tmp_path: Path) -> None:
    generate(tmp_path)
    stale = tmp_path / "messages" / "v1" / "messages_pb2.pyi"
    stale.write_text(stale.read_text().replace("request_id", "request_identity"))
    assert differences(tmp_path, TARGET) == ["messages/v1/messages_pb2.pyi"]


def test_what_the_overlays_deploy_is_fresh() -> None:
    made = overlay_configs(ROOT)
    assert {path.parent.name for path in made} >= {"cpu", "five-nodes"}
    assert [path for path, text in made.items() if path.read_text(encoding="utf-8") != text] == []
