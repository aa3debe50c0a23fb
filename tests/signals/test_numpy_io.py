import io
import zipfile

import numpy as np
import pytest

from ecg_transformers.errors import LeadError, RecordFileError, SignalError
from ecg_transformers.signals.formats.numpy_files import is_numpy, read_numpy
from ecg_transformers.signals.leads import STANDARD_LEADS

SIGNAL = np.random.default_rng(0).normal(scale=0.3, size=(12, 2000)).astype(np.float32)


@pytest.fixture
def saved(tmp_path):
    def save(array=None, **arrays):
        path = tmp_path / ("a.npy" if array is not None else "a.npz")
        if array is not None:
            np.save(path, array)
        else:
            np.savez_compressed(path, **arrays)
        return path

    return save


@pytest.mark.parametrize(
    "array", [SIGNAL, SIGNAL.T, np.asfortranarray(SIGNAL), SIGNAL.astype(np.float64), SIGNAL.astype(">f4")]
)
def test_axes_and_types(saved, array):
    record = read_numpy(saved(array), sampling_rate=500, units="mV", leads=STANDARD_LEADS)
    np.testing.assert_array_equal(record.signal, SIGNAL)
    assert (record.leads, record.name) == (STANDARD_LEADS, "a")
    unnamed = read_numpy(saved(array), sampling_rate=500)
    np.testing.assert_array_equal(unnamed.signal, SIGNAL)
    assert "taken as mV" in "".join(unnamed.notes)


def test_the_record_owns_its_samples(saved):
    path = saved(SIGNAL)
    record = read_numpy(path, sampling_rate=500)
    assert type(record.signal) is np.ndarray
    record.signal[:] = 0
    np.testing.assert_array_equal(np.load(path), SIGNAL)


def test_one_of_several_recordings(saved):
    path = saved(np.stack([SIGNAL, 2 * SIGNAL]))
    record = read_numpy(path, sampling_rate=500, index=1)
    np.testing.assert_array_equal(record.signal, 2 * SIGNAL)
    assert record.name == "a-1"
    for index in (None, 2, -1):
        with pytest.raises(RecordFileError, match="0 to 1"):
            read_numpy(path, sampling_rate=500, index=index)
    rows = saved(SIGNAL)
    np.testing.assert_array_equal(read_numpy(rows, sampling_rate=500, index=3).signal, SIGNAL[3:4])
    with pytest.raises(RecordFileError, match="leave index="):
        read_numpy(saved(SIGNAL[0]), sampling_rate=500, index=0)


def test_one_dimension_is_one_lead(saved):
    assert read_numpy(saved(SIGNAL[0]), sampling_rate=512, leads=["I"]).leads == ("I",)


def test_an_archive_may_say_everything_itself(saved):
    path = saved(signal=SIGNAL * 1000, fs=500.0, units="uV", leads=list(STANDARD_LEADS), other=np.eye(3))
    record = read_numpy(path)
    np.testing.assert_allclose(record.signal, SIGNAL, rtol=1e-5)
    assert (record.sampling_rate, record.leads) == (500, STANDARD_LEADS)
    assert record.source == str(path)
    with pytest.raises(RecordFileError, match=r"500 Hz"):
        read_numpy(path, sampling_rate=250)
    with pytest.raises(RecordFileError, match="states uV"):
        read_numpy(path, units="mV")


def test_several_arrays_need_a_key(saved):
    path = saved(a=SIGNAL, b=2 * SIGNAL)
    with pytest.raises(RecordFileError, match=r"a \(12, 2000\).*key="):
        read_numpy(path, sampling_rate=500)
    np.testing.assert_array_equal(read_numpy(path, sampling_rate=500, key="b").signal, 2 * SIGNAL)
    with pytest.raises(RecordFileError, match="no array 'c'"):
        read_numpy(path, sampling_rate=500, key="c")
    with pytest.raises(RecordFileError, match="leave key="):
        read_numpy(saved(SIGNAL), sampling_rate=500, key="a")


def test_rate_unit_and_shape_are_asked_for(saved):
    with pytest.raises(SignalError, match=r"a\.npy.*sampling_rate="):
        read_numpy(saved(SIGNAL))
    integers = saved((SIGNAL * 1000).astype(np.int16))
    with pytest.raises(RecordFileError, match=r"a\.npy.*units=.*gain="):
        read_numpy(integers, sampling_rate=500)
    np.testing.assert_allclose(read_numpy(integers, sampling_rate=500, gain=1000).signal, SIGNAL, atol=0.001)
    with pytest.raises(SignalError, match="gain"):
        read_numpy(integers, sampling_rate=500, gain=0)
    with pytest.raises(RecordFileError, match="clearly the leads"):
        read_numpy(saved(np.zeros((100, 90))), sampling_rate=500)
    with pytest.raises(LeadError, match="1 lead names"):
        read_numpy(saved(SIGNAL), sampling_rate=500, leads=["I"])


@pytest.mark.parametrize(
    "array", [np.zeros((12, 0)), np.zeros((2, 2, 2, 2)), np.array([["a", "b"]]), np.zeros((2, 90), dtype=complex)]
)
def test_what_is_no_signal_is_refused(saved, array):
    with pytest.raises((RecordFileError, SignalError), match=r"a\.npy"):
        read_numpy(saved(array), sampling_rate=500)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([[{"a": 1}]], dtype=object))
    with pytest.raises(RecordFileError, match="pickle"):
        read_numpy(tmp_path / "a.npy", sampling_rate=500)
    with pytest.raises(RecordFileError, match="no array of samples"):
        read_numpy(tmp_path / "a.npz", sampling_rate=500)
    with pytest.raises(RecordFileError, match="pickle"):
        read_numpy(tmp_path / "a.npz", sampling_rate=500, key="a")


def test_damaged_files_are_refused(saved, tmp_path):
    content = saved(SIGNAL).read_bytes()
    generator = np.random.default_rng(0)
    for length in (7, 60, 128, 1000, len(content) - 1):
        (tmp_path / "cut.npy").write_bytes(content[:length])
        with pytest.raises(RecordFileError, match=r"cut\.npy"):
            read_numpy(tmp_path / "cut.npy", sampling_rate=500)
    archive = saved(signal=SIGNAL, fs=500).read_bytes()
    for _ in range(50):
        damaged = bytearray(archive)
        for position in generator.integers(len(damaged), size=5):
            damaged[position] = generator.integers(256)
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            read_numpy(tmp_path / "b.npz", units="mV")
        except (RecordFileError, SignalError) as error:
            assert "b.npz" in str(error)  # noqa: PT017


def test_a_member_that_states_more_than_it_holds_is_refused_before_memory_is_taken(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (12, 10**12)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("signal.npy", header.getvalue() + b"\0" * 800)
    with pytest.raises(RecordFileError, match="1000000000000"):
        read_numpy(tmp_path / "a.npz", sampling_rate=500)


def test_files_are_recognized_by_content(tmp_path):
    np.save(tmp_path / "a", SIGNAL)
    assert is_numpy(tmp_path / "x", (tmp_path / "a.npy").read_bytes()[:100])
    assert not is_numpy(tmp_path / "x.npy", b"PK\x03\x04 [Content_Types].xml")


def test_leading_axes_of_length_one_are_left_out_and_others_refused(saved):
    signal = np.random.default_rng(0).normal(size=(12, 500))
    record = read_numpy(saved(signal[None, None]), sampling_rate=100, units="mV")
    np.testing.assert_allclose(record.signal, signal, atol=1e-6)
    assert read_numpy(saved(np.stack([signal, signal])[None]), sampling_rate=100, units="mV", index=1).num_leads == 12
    with pytest.raises(RecordFileError, match=r"expected \(leads, samples\) or \(records, leads, samples\)"):
        read_numpy(saved(np.zeros((2, 2, 12, 500))), sampling_rate=100, index=0)


@pytest.mark.parametrize(
    ("old", "new"), [(b"'descr'", b"Xdescr "), (b"'fortran_order': False", b"'fortran_order': Fa(se")]
)
def test_a_damaged_header_is_named_in_words(tmp_path, old, new):
    np.save(tmp_path / "a.npy", np.zeros((2, 100)))
    data = (tmp_path / "a.npy").read_bytes()
    assert old in data
    (tmp_path / "a.npy").write_bytes(data.replace(old, new))
    with pytest.raises(RecordFileError, match="its header, which states type and shape of the array, is damaged"):
        read_numpy(tmp_path / "a.npy", sampling_rate=100)


def test_a_mask_beside_the_signal_is_noted(tmp_path):
    signal = np.random.default_rng(0).normal(scale=0.3, size=(12, 500))
    np.savez(tmp_path / "a.npz", signal=signal, mask=np.ones((12, 500), dtype=bool))
    notes = read_numpy(tmp_path / "a.npz", sampling_rate=100).notes
    assert "the array 'mask' is not used: set the samples that it leaves out to NaN" in notes
