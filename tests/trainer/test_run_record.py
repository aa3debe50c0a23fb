"""What a run records of itself."""

from pathlib import Path

from ecg_transformers.trainer.run_record import portable_path

ROOT = Path(__file__).parents[2]


def test_a_file_is_named_from_the_source_tree_or_the_working_directory_or_by_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert portable_path(ROOT / "training" / "configs" / "mae_moco_tiny.yaml") == "training/configs/mae_moco_tiny.yaml"
    assert portable_path("mine/a.yaml") == portable_path(tmp_path / "mine" / "a.yaml") == "mine/a.yaml"
    assert portable_path("/somewhere/else/b.yaml") == "b.yaml"
    assert portable_path(None) is None
