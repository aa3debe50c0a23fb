import numpy as np
import pytest
import wfdb

from ecg_transformers.errors import RecordFileError
from ecg_transformers.signals.record import Annotations, EcgRecord
from ecg_transformers.signals.wfdb.read import read_wfdb, write_wfdb


def record(**changes):
    signal = np.sin(np.arange(3 * 500).reshape(3, 500) / 20).astype(np.float32)
    values = {"leads": ["I", "II", "V1"], "name": "p-1_x", "age": 61, "sex": "M", "labels": ["164889003", "1"]}
    return EcgRecord(changes.pop("signal", signal), 257.3, **(values | changes))


def test_round_trip_keeps_everything_to_half_a_microvolt(tmp_path):
    first = record(annotations=Annotations([5, 250, 499], ["N", "V", "+"], ["", "", "(AFIB"]))
    path = write_wfdb(first, tmp_path / "new")
    assert path == tmp_path / "new" / "p-1_x.hea"
    again = read_wfdb(path, strict=True)
    np.testing.assert_allclose(again.signal, first.signal, atol=0.000501)
    for name in ("name", "leads", "sampling_rate", "age", "sex", "labels"):
        assert getattr(again, name) == getattr(first, name)
    assert again.annotations.samples.tolist() == [5, 250, 499]
    assert (again.annotations.symbols, again.annotations.aux) == (["N", "V", "+"], ["", "", "(AFIB"])
    assert again.notes == []
    assert sorted(item.name for item in path.parent.iterdir()) == ["p-1_x.atr", "p-1_x.dat", "p-1_x.hea"]


def test_wfdb_reads_the_same(tmp_path):
    path = write_wfdb(record(), tmp_path)
    reference = wfdb.rdrecord(str(path.with_suffix("")))
    np.testing.assert_array_equal(read_wfdb(path).signal, reference.p_signal.T.astype(np.float32))


def test_missing_samples_large_amplitudes_and_unnamed_leads(tmp_path):
    signal = np.zeros((2, 500), dtype=np.float32)
    signal[0, :250], signal[1, 3:9] = 40.0, np.nan
    again = read_wfdb(write_wfdb(record(signal=signal, leads=None), tmp_path))
    np.testing.assert_allclose(again.signal, signal, atol=0.001)
    assert again.leads is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "a.b"])
def test_names_that_are_no_plain_file_names_are_refused(tmp_path, name):
    with pytest.raises(RecordFileError, match="named"):
        write_wfdb(record(name=name), tmp_path)


def test_infinite_samples_and_unknown_symbols_leave_nothing_behind(tmp_path):
    signal = np.zeros((3, 500))
    signal[0, 0] = np.inf
    with pytest.raises(RecordFileError, match="infinite"):
        write_wfdb(record(signal=signal), tmp_path)
    with pytest.raises(RecordFileError, match="annotations"):
        write_wfdb(record(annotations=Annotations([5], ["no symbol"])), tmp_path)
    assert list(tmp_path.iterdir()) == []
