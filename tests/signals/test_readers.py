import doctest
import shutil

import numpy as np
import pytest

from ecg_transformers.errors import EcgError, LeadError, RecordFileError, SignalError
from ecg_transformers.signals.formats import readers as module
from ecg_transformers.signals.formats.readers import read_record, reader_names, register_reader
from ecg_transformers.signals.record import EcgRecord


@pytest.fixture
def registry(monkeypatch):
    """Readers that a test registers are gone after it."""
    monkeypatch.setattr(module, "_READERS", list(module._READERS))


def test_examples_in_the_docstrings_hold(monkeypatch, data_dir, registry):
    monkeypatch.chdir(data_dir.parents[1])
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", ["00001_lr", "00001_lr.hea", "00001_lr.dat"])
def test_a_wfdb_record_is_found_by_any_of_its_names(data_dir, name):
    assert read_record(str(data_dir / "ptbxl" / name)).name == "00001_lr"


def test_a_container_beside_its_header_is_wfdb(data_dir):
    record = read_record(data_dir / "georgia" / "E03823.mat")
    assert record.labels == ("428750005", "427084000")
    assert record.source.endswith("E03823.hea")


def test_the_same_recording_in_every_form_is_equal(tmp_path, data_dir, ptbxl_records):
    h5py = pytest.importorskip("h5py")
    from scipy.io import savemat

    record = ptbxl_records[1]
    np.save(tmp_path / "npy", record.signal)
    np.savez(tmp_path / "npz.npz", record.signal)
    savemat(tmp_path / "mat.bin", {"x": record.signal})
    with h5py.File(tmp_path / "hdf", "w") as file:
        file["x"] = record.signal
    (tmp_path / "npy.npy").rename(tmp_path / "without_suffix")
    shutil.copy(data_dir / "ptbxl" / "00002_lr.csv", tmp_path / "text")
    for name in ("without_suffix", "npz.npz", "mat.bin", "hdf"):
        again = read_record(tmp_path / name, sampling_rate=100, units="mV", leads=record.leads)
        np.testing.assert_array_equal(again.signal, record.signal)
        assert again.leads == record.leads
    np.testing.assert_array_equal(read_record(tmp_path / "text").signal, record.signal)


def test_a_lead_stands_for_another_only_where_the_caller_says_so(data_dir):
    path = data_dir / "mitdb" / "100.hea"
    assert read_record(path).leads == ("MLII", "V5")
    record = read_record(path, treat_as={"mlii": "lead II", "ML5": "V6"})
    assert record.leads == ("II", "V5")
    assert record.notes[-1] == "lead MLII treated as II"
    assert len(record.annotations) == 38
    with pytest.raises(LeadError, match="twice"):
        read_record(path, treat_as={"MLII": "V5"})


def test_renamed_leads_come_in_canonical_order(tmp_path):
    (tmp_path / "a.csv").write_text("V5,MLII\n" + "0.1,0.9\n0.2,0.3\n" * 20)
    record = read_record(tmp_path / "a.csv", sampling_rate=100, treat_as={"MLII": "II"})
    assert record.leads == ("II", "V5")
    assert record.signal[0, 0] == np.float32(0.9)


def test_what_is_no_recording_says_what_it_is(tmp_path, data_dir):
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b\x08\0")
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 [Content_Types].xml" + b"\0" * 600)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "a.npy").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 99\n")
    for path, fact in {
        tmp_path: "folder",
        tmp_path / "absent.csv": "does not exist",
        tmp_path / "empty.csv": "0 bytes",
        tmp_path / "a.gz": "gzip",
        tmp_path / "a.xlsx": "zip",
        tmp_path / "a.npy": "Git LFS pointer.*99 bytes",
        data_dir / "mitdb" / "100.atr": "unknown kind",
    }.items():
        with pytest.raises(RecordFileError, match=fact) as caught:
            read_record(path)
        assert str(path) in str(caught.value)


def test_files_of_systems_that_write_capitals(tmp_path, data_dir):
    for suffix in (".hea", ".dat"):
        shutil.copy(data_dir / "ptbxl" / f"00001_lr{suffix}", tmp_path / f"00001_LR{suffix.upper()}")
    for name in ("00001_LR", "00001_LR.HEA", "00001_LR.DAT"):
        record = read_record(tmp_path / name)
        assert record.num_samples == 1000
        assert any("other letter case" in note for note in record.notes)


def test_an_operating_system_error_becomes_one_of_ours(data_dir, monkeypatch):
    from pathlib import Path

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RecordFileError, match=r"00001_lr\.hea cannot be read: .*Permission denied"):
        read_record(data_dir / "ptbxl" / "00001_lr.hea")


def test_a_dat_without_its_header_is_half_a_record_unless_it_is_text(tmp_path, data_dir):
    shutil.copy(data_dir / "ptbxl" / "00001_lr.dat", tmp_path)
    with pytest.raises(RecordFileError, match=r"no header .*00001_lr\.hea"):
        read_record(tmp_path / "00001_lr.dat")
    (tmp_path / "a.dat").write_text("0.1 0.2\n0.3 0.4\n" * 30)
    assert read_record(tmp_path / "a.dat", sampling_rate=250).num_leads == 2


def test_arguments_that_a_format_does_not_take_are_refused(data_dir):
    with pytest.raises(SignalError, match=r"wfdb, which takes no key="):
        read_record(data_dir / "ptbxl" / "00001_lr.hea", key="x")
    with pytest.raises(SignalError, match=r"table, which takes no index="):
        read_record(data_dir / "ptbxl" / "00002_lr.csv", index=0)


def test_a_registered_reader_is_asked_first_and_gets_what_was_set(tmp_path, registry):
    got = {}

    def read(path, *, sampling_rate=None, gain=None):
        got.update(path=path, sampling_rate=sampling_rate, gain=gain)
        return EcgRecord(np.zeros((1, 10)), sampling_rate, ["MLII"], name=path.stem)

    register_reader("mine", lambda path, head: head.startswith(b"MINE"), read)
    assert reader_names()[0] == "mine"
    (tmp_path / "a.csv").write_text("MINE,1\n")
    record = read_record(tmp_path / "a.csv", sampling_rate=360, treat_as={"MLII": "II"})
    assert record.leads == ("II",)
    assert got == {"path": tmp_path / "a.csv", "sampling_rate": 360, "gain": None}
    with pytest.raises(SignalError, match="units="):
        read_record(tmp_path / "a.csv", units="mV")
    register_reader("mine", lambda path, head: False, read)
    assert reader_names().count("mine") == 1
    with pytest.raises(EcgError):
        read_record(tmp_path / "a.csv", sampling_rate=360)


def test_reading_a_usual_record_loads_nothing_heavy(data_dir, run_python):
    code = "import sys; from ecg_transformers.signals.formats.readers import read_record; read_record(sys.argv[1]); "
    code += "print([m for m in ('wfdb', 'h5py', 'pandas', 'ecgdatakit', 'matplotlib') if m in sys.modules])"
    assert run_python(code, str(data_dir / "georgia" / "E03823.hea")).strip() == "[]"


def test_a_value_that_marks_missing_samples_becomes_nan(tmp_path, ptbxl_records):
    signal = ptbxl_records[0].signal.copy()
    signal[2, 100:105] = 9999
    np.savetxt(tmp_path / "a.csv", signal.T, delimiter=",", header=",".join(ptbxl_records[0].leads), comments="")
    marked = read_record(tmp_path / "a.csv", sampling_rate=100)
    assert any("missing_value=9999" in note for note in marked.notes)
    record = read_record(tmp_path / "a.csv", sampling_rate=100, missing_value=9999)
    assert np.flatnonzero(np.isnan(record.signal[2])).tolist() == [100, 101, 102, 103, 104]
    assert np.isnan(record.signal).sum() == 5
    assert "5 samples of 9999 mV taken as missing" in record.notes
    assert not any("no ECG jumps" in note for note in record.notes)
    signal[2, 100:105] = -32.768
    signal[3, 0] = 9999
    np.savetxt(tmp_path / "b.csv", signal.T, delimiter=",", header=",".join(ptbxl_records[0].leads), comments="")
    record = read_record(tmp_path / "b.csv", sampling_rate=100, missing_value=-32.768)
    assert np.isnan(record.signal).sum() == 5
    assert any("lead aVR has 9999 mV" in note for note in record.notes)


def test_signals_of_several_rates_are_chosen_and_cut_off_files_are_read_on_request(tmp_path):
    (tmp_path / "r.hea").write_text("r 3 250 100\nr.dat 16x2 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II\n"
                                    "r.dat 16 1000/mV 16 0 0 0 0 V1\n")  # fmt: skip
    frames = np.arange(400, dtype="<i2").reshape(100, 4)
    frames.tofile(tmp_path / "r.dat")
    with pytest.raises(RecordFileError, match=r"several rates.*Set channels="):
        read_record(tmp_path / "r")
    for channels in (["II", "V1"], [1, 2]):
        record = read_record(tmp_path / "r", channels=channels)
        assert (record.leads, record.sampling_rate) == (("II", "V1"), 250)
        np.testing.assert_allclose(record.signal, frames.T[2:] / 1000)
    frames[:60].tofile(tmp_path / "r.dat")
    with pytest.raises(RecordFileError, match="Set allow_truncated=True"):
        read_record(tmp_path / "r", channels=["II"])
    assert read_record(tmp_path / "r", channels=["II"], allow_truncated=True).num_samples == 60
