import numpy as np
import pytest
from scipy.io import savemat

from ecg_transformers.errors import RecordFileError, SignalError
from ecg_transformers.signals.formats.matlab import is_matlab, read_matlab
from ecg_transformers.signals.leads import STANDARD_LEADS

SIGNAL = np.random.default_rng(0).normal(scale=0.3, size=(12, 2000))


@pytest.fixture
def saved(tmp_path):
    def save(variables, **options):
        savemat(tmp_path / "a.mat", variables, **options)
        return tmp_path / "a.mat"

    return save


@pytest.mark.parametrize("options", [{"format": "4"}, {"format": "5"}, {"format": "5", "do_compression": True}])
def test_versions(saved, options):
    path = saved({"ecg": SIGNAL, "fs": 500.0}, **options)
    record = read_matlab(path)
    np.testing.assert_array_equal(record.signal, SIGNAL.astype(np.float32))
    assert (record.sampling_rate, record.name, record.source) == (500, "a", str(path))
    assert is_matlab(path, path.read_bytes()[:4096])
    turned = read_matlab(saved({"ecg": SIGNAL.T, "fs": 500.0}, **options))
    np.testing.assert_array_equal(turned.signal, record.signal)


def test_struct_with_everything(saved):
    leads = np.array(STANDARD_LEADS, dtype=object)
    path = saved({"S": {"data": SIGNAL * 1000, "fs": 500, "units": "uV", "leads": leads, "age": 61, "sex": "Female"}})
    record = read_matlab(path)
    np.testing.assert_allclose(record.signal, SIGNAL, rtol=1e-5)
    assert (record.leads, record.age, record.sex) == (STANDARD_LEADS, 61, "female")
    np.testing.assert_array_equal(read_matlab(path, key="S.data").signal, record.signal)


def test_cpsc_2018_struct_is_known(saved):
    path = saved({"ECG": {"sex": "Male", "age": 40.0, "data": SIGNAL}})
    record = read_matlab(path)
    assert (record.sampling_rate, record.leads, record.age, record.sex) == (500, STANDARD_LEADS, 40, "male")
    assert "CPSC 2018" in record.notes[0]
    assert read_matlab(path, sampling_rate=250).sampling_rate == 250


def test_challenge_file_without_header_asks_for_it_and_for_the_gain(data_dir, tmp_path, saved):
    path = tmp_path / "E03823.mat"
    path.write_bytes((data_dir / "georgia" / "E03823.mat").read_bytes())
    with pytest.raises(RecordFileError, match=r"val \(12, 5000\) int16.*E03823\.hea"):
        read_matlab(path)
    with pytest.raises(RecordFileError, match=r"gain="):
        read_matlab(path, sampling_rate=500)
    assert read_matlab(path, sampling_rate=500, gain=1000, leads=STANDARD_LEADS).num_samples == 5000


def test_several_recordings_and_keys(saved):
    path = saved({"a": np.stack([SIGNAL, 2 * SIGNAL]), "b": SIGNAL})
    with pytest.raises(RecordFileError, match="key="):
        read_matlab(path, sampling_rate=500)
    record = read_matlab(path, sampling_rate=500, key="a", index=1)
    np.testing.assert_array_equal(record.signal, (2 * SIGNAL).astype(np.float32))
    assert record.name == "a-1"


def test_damaged_files_give_records_or_errors(saved, tmp_path):
    generator = np.random.default_rng(0)
    for options in ({"format": "4"}, {"format": "5"}, {"format": "5", "do_compression": True}):
        content = saved({"ecg": SIGNAL[:, :200], "fs": 500.0}, **options).read_bytes()
        for _ in range(60):
            damaged = bytearray(content[: generator.integers(20, len(content) + 1)])
            for position in generator.integers(min(len(damaged), 300), size=3):
                damaged[position] = generator.integers(256)
            (tmp_path / "b.mat").write_bytes(damaged)
            try:
                read_matlab(tmp_path / "b.mat", sampling_rate=500, units="mV")
            except (RecordFileError, SignalError) as error:
                assert "b.mat" in str(error)  # noqa: PT017


def test_a_cut_off_version_4_file_names_the_bytes(saved):
    path = saved({"val": SIGNAL.astype(np.int16)}, format="4")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RecordFileError, match=f"1000 of {size} bytes"):
        read_matlab(path, sampling_rate=500)


def test_version_7_3_is_read_as_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    from ecg_transformers.signals.formats.readers import read_record

    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["ecg"] = SIGNAL.T  # MATLAB writes its arrays transposed
        file["fs"] = [[500.0]]
        file.create_dataset("units", data=np.array([[ord(letter)] for letter in "mV"], dtype=np.uint16))
        file["units"].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    record = read_record(path)
    np.testing.assert_array_equal(record.signal, SIGNAL.astype(np.float32))
    assert record.sampling_rate == 500
    assert not any("taken as mV" in note for note in record.notes)


def test_other_binary_files_are_not_taken_for_version_4(tmp_path, data_dir):
    for path in (data_dir / "mitdb" / "100.dat", data_dir / "ptbxl" / "00001_lr.dat", data_dir / "mitdb" / "100.atr"):
        assert not is_matlab(path, path.read_bytes()[:4096])
    assert not is_matlab(tmp_path, b"")
