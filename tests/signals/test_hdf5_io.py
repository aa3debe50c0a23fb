import numpy as np
import pytest

from ecg_transformers.errors import RecordFileError, SignalError
from ecg_transformers.signals.formats.hdf5 import read_hdf5
from ecg_transformers.signals.leads import STANDARD_LEADS

h5py = pytest.importorskip("h5py")

SIGNAL = np.random.default_rng(0).normal(scale=0.3, size=(12, 2000)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def test_attributes_of_the_dataset_say_everything(path):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("group/ecg", data=SIGNAL * 1000, compression="gzip")
        dataset.attrs.update({"sampling_rate": 500, "units": "uV", "leads": list(STANDARD_LEADS)})
        file.attrs["sampling_rate"] = 1
    record = read_hdf5(path)
    np.testing.assert_allclose(record.signal, SIGNAL, rtol=1e-5)
    assert (record.sampling_rate, record.leads, record.source) == (500, STANDARD_LEADS, str(path))
    np.testing.assert_array_equal(read_hdf5(path, key="/group/ecg").signal, record.signal)


def test_one_exam_of_a_collection_in_time_major_order(path):
    with h5py.File(path, "w") as file:
        file["tracings"] = np.stack([SIGNAL.T, 2 * SIGNAL.T, 3 * SIGNAL.T])
        file["exam_id"] = np.arange(3)
    record = read_hdf5(path, sampling_rate=400, index=1)
    np.testing.assert_array_equal(record.signal, 2 * SIGNAL)
    assert record.name == "a-1"
    assert "array (2000, 12) taken as (samples, leads)" in record.notes
    with pytest.raises(RecordFileError, match=r"3 recordings.*index="):
        read_hdf5(path, sampling_rate=400)
    with pytest.raises(SignalError, match="sampling_rate="):
        read_hdf5(path, index=0)


def test_sizes_for_which_nothing_is_stored_are_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("ecg", shape=(12, 10**11), dtype="f4", chunks=(12, 1000))
    with pytest.raises(RecordFileError, match="4800000000000 bytes"):
        read_hdf5(path, sampling_rate=500)


def test_data_outside_the_file_is_not_followed(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["ecg"] = SIGNAL
    SIGNAL.tofile(tmp_path / "raw")
    with h5py.File(path, "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/ecg")
        file.create_dataset("raw", shape=SIGNAL.shape, dtype="f4", external=[(str(tmp_path / "raw"), 0, SIGNAL.nbytes)])
        layout = h5py.VirtualLayout(SIGNAL.shape, "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "ecg", SIGNAL.shape)
        file.create_virtual_dataset("virtual", layout)
    for key in (None, "link", "raw", "virtual"):
        with pytest.raises(RecordFileError, match="no array"):
            read_hdf5(path, sampling_rate=500, key=key)


def test_damaged_files_give_records_or_errors(path):
    with h5py.File(path, "w") as file:
        file["ecg"] = SIGNAL
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content[: generator.integers(100, len(content))])
        for position in generator.integers(min(len(damaged), 4000), size=3):
            damaged[position] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_hdf5(path, sampling_rate=500, units="mV")
        except (RecordFileError, SignalError) as error:
            assert "a.h5" in str(error)  # noqa: PT017


def test_missing_package_names_the_extra(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(RecordFileError, match=r"ecg-transformers\[hdf5\]"):
        read_hdf5(path)


def write_matlab(path, array):
    """An array `val` as MATLAB 7.3 stores it: a block of text in front, the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("val", data=array.transpose()).attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def test_the_axes_of_matlab_are_reversed(path):
    write_matlab(path, np.stack([SIGNAL, 2 * SIGNAL, 3 * SIGNAL]))
    np.testing.assert_array_equal(read_hdf5(path, sampling_rate=500, index=1).signal, 2 * SIGNAL)
    with pytest.raises(RecordFileError, match="3 recordings"):
        read_hdf5(path, sampling_rate=500)
    write_matlab(path, SIGNAL)
    np.testing.assert_array_equal(read_hdf5(path, sampling_rate=500).signal, SIGNAL)


def test_a_recording_that_would_be_a_slice_through_all_is_refused(path):
    with h5py.File(path, "w") as file:
        file["ecg"] = np.zeros((2000, 12, 40))
    with pytest.raises(RecordFileError, match=r"0\.08 s.*Reorder the axes"):
        read_hdf5(path, sampling_rate=500, index=0)


def test_marks_of_missing_samples_are_nan(path):
    values = np.rint(1000 * SIGNAL).astype(np.int16)
    values[3, 7] = -32768
    with h5py.File(path, "w") as file:
        file["ecg"] = values
    record = read_hdf5(path, sampling_rate=500, gain=1000)
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[3, 7]]
    assert "1 samples marked as missing (-32768)" in record.notes
    with h5py.File(path, "w") as file:
        file.create_dataset("ecg", data=SIGNAL).attrs["_FillValue"] = SIGNAL[2, 5]
    record = read_hdf5(path, sampling_rate=500, units="mV")
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[2, 5]]


@pytest.mark.parametrize(("scale", "offset"), [(0.001, 0), (0.002, -0.5), ([0.001], [0.25])])
def test_packed_values_are_unpacked_as_the_file_states(path, scale, offset):
    values = np.rint(1000 * SIGNAL).astype(np.int16)
    values[3, 7], values[2, 5] = -32768, -999
    with h5py.File(path, "w") as file:
        data = file.create_dataset("ecg", data=values)
        data.attrs.update({"units": "mV", "fs": 500, "scale_factor": scale, "add_offset": offset, "_FillValue": -999})
    record = read_hdf5(path)
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[2, 5], [3, 7]]
    np.testing.assert_allclose(record.signal[0], values[0] * np.ravel(scale)[0] + np.ravel(offset)[0], rtol=1e-6)
    assert any("as the file states" in note for note in record.notes)
