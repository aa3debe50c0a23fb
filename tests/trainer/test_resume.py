import json

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.trainer.resume import (
    MARKER,
    check_checkpoint,
    discard_unfinished,
    keep_newest,
    newest_complete_checkpoint,
    seal_checkpoint,
    what_is_missing,
)


def write(folder, step):
    unfinished = folder / f"checkpoint-{step}.unfinished"
    (unfinished / "part").mkdir(parents=True)
    (unfinished / "model.safetensors").write_bytes(bytes(100 + step))
    (unfinished / "part" / "state.pt").write_bytes(b"state")
    seal_checkpoint(unfinished, folder / f"checkpoint-{step}")
    return folder / f"checkpoint-{step}"


def test_a_sealed_checkpoint_is_complete_and_lists_its_files(tmp_path):
    folder = write(tmp_path, 5)
    assert what_is_missing(folder) is None
    assert json.loads((folder / MARKER).read_text())["files"] == {"model.safetensors": 105, "part/state.pt": 5}
    assert not list(tmp_path.glob("*.unfinished"))


def test_the_newest_complete_one_is_found_and_the_skipped_are_named(tmp_path, caplog):
    for step in (20, 100, 140, 160):
        write(tmp_path, step)
    (tmp_path / "checkpoint-140" / MARKER).unlink()
    (tmp_path / "checkpoint-160" / "model.safetensors").write_bytes(b"cut")
    (tmp_path / "checkpoint-180.unfinished").mkdir()
    assert newest_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    (message,) = caplog.messages
    assert "checkpoint-100" in message
    assert "checkpoint-140 is incomplete: no marker" in message
    assert "checkpoint-160 is incomplete: model.safetensors has 3 bytes instead of 260" in message
    assert "checkpoint-180.unfinished" in message


@pytest.mark.parametrize("damage", ["missing file", "unreadable marker", "no folder"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, damage):
    folder = write(tmp_path, 3)
    if damage == "missing file":
        (folder / "part" / "state.pt").unlink()
    elif damage == "unreadable marker":
        (folder / MARKER).write_text("{")
    else:
        folder = tmp_path / "checkpoint-4"
    with pytest.raises(CheckpointError, match=folder.name):
        check_checkpoint(folder)
    assert newest_complete_checkpoint(tmp_path / "empty") is None


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    folder = write(tmp_path, 3)
    (folder / "old").write_text("old")
    assert write(tmp_path, 3) == folder
    assert not (folder / "old").exists()


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [(None, None, [1, 2, 3, 4]), (2, None, [3, 4]), (2, 1, [1, 4]), (1, 1, [1, 4]), (1, 4, [4]), (3, 2, [2, 3, 4])],
)
def test_the_oldest_go_but_never_the_newest_or_best(tmp_path, limit, best, kept):
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    keep_newest(tmp_path, limit, None if best is None else tmp_path / f"checkpoint-{best}")
    assert sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*")) == kept


def test_only_what_was_being_written_is_discarded(tmp_path):
    write(tmp_path, 1)
    foreign = tmp_path / "checkpoint-2"
    foreign.mkdir()
    (tmp_path / "checkpoint-3.unfinished").mkdir()
    discard_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]
