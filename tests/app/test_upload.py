"""Uploads: one recording out of files and archives, the reader's own message, and nothing left behind."""

import io
import tempfile
import zipfile

import numpy as np
import pytest

from ecg_transformers.app.upload import Limits, read_upload
from ecg_transformers.errors import EcgError, RecordFileError, SignalError


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Nothing that is uploaded stays on the disk, whether it was read or refused."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.fixture
def pair(data_dir):
    return {f"00001_lr{suffix}": (data_dir / "ptbxl" / f"00001_lr{suffix}").read_bytes() for suffix in (".hea", ".dat")}


def archive(files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, values in files.items():
            packed.writestr(name, values)
    return content.getvalue()


def numpy_file(signal, **arrays) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, signal=signal, **arrays) if arrays else np.save(content, signal)
    return content.getvalue()


def test_a_pair_and_an_archive_of_it_are_the_same_recording(pair):
    record = read_upload(pair, limits=Limits())
    packed = read_upload({"a.zip": archive({f"folder/{name}": pair[name] for name in pair})}, limits=Limits())
    assert (record.name, record.num_leads, record.source) == ("00001_lr", 12, None)
    np.testing.assert_array_equal(record.signal, packed.signal)


def test_what_a_file_does_not_say_is_taken_from_the_visitor():
    files = {"mine.npy": numpy_file(np.random.default_rng(0).normal(size=(2, 500)))}
    with pytest.raises(SignalError, match="sampling_rate="):
        read_upload(files, limits=Limits())
    record = read_upload(files, limits=Limits(), sampling_rate=250.0, leads=["I", "II"], units="uV")
    assert record.duration == 2
    assert np.abs(record.signal).max() < 0.1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.zip": b"PK\x03\x04 and no more"}, "a.zip is no zip archive"),
        ({"a.zip": archive({"../../evil.csv": "1"})}, "leaves its folder"),
        ({"a.zip": archive({"/evil.csv": "1"})}, "leaves its folder"),
        ({"a.zip": archive({"x/a.csv": "1", "y/a.csv": "2"})}, "twice"),
        ({"a.zip": archive({})}, "holds no file"),
        ({"a.csv": b"I,II\n1,2\n", "b.csv": b"I,II\n1,2\n"}, "2 recordings"),
        ({"picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256))}, "picture.png is a picture"),
        ({"empty.csv": b""}, "empty.csv has 0 bytes"),
        ({"00001_lr.dat": bytes(24000)}, "00001_lr"),
    ],
)
def test_a_bad_upload_has_one_clear_message_without_a_path_of_the_server(files, message, tmp_path):
    with pytest.raises(EcgError, match=message) as refused:
        read_upload(files, limits=Limits())
    assert str(tmp_path) not in str(refused.value)


def test_size_and_length_are_limited_also_of_what_is_packed(pair):
    zeros = np.zeros((2, 400_000), np.float32)
    for files in (
        pair,
        {"bomb.zip": archive({"a.npy": numpy_file(zeros)})},
        {"bomb.npz": numpy_file(zeros, sampling_rate=np.array(500.0))},
    ):
        with pytest.raises(RecordFileError, match="MB"):
            read_upload(files, limits=Limits(megabytes=0.02))
    with pytest.raises(SignalError, match="minutes"):
        read_upload(pair, limits=Limits(minutes=0.1))


def test_vendor_files_go_the_same_way(tmp_path_factory):
    pytest.importorskip("ecgdatakit", reason="the extra [formats] is not installed")
    pytest.importorskip("edfio", reason="the extra [test] is not installed")
    from ..signals import test_vendor_io as vendor

    path = vendor.write_edf(tmp_path_factory.mktemp("vendor") / "one.edf")
    xml = vendor.muse(np.rint(vendor.SIGNAL * 200), encoding="UTF-8").encode()
    for files in ({"one.edf": path.read_bytes()}, {"one.xml": xml}, {"a.zip": archive({"one.xml": xml})}):
        record = read_upload(files, limits=Limits())
        assert (record.leads, record.sampling_rate, record.name) == (("I", "II", "V1"), 500, "one")
        np.testing.assert_allclose(record.signal, vendor.SIGNAL[[1, 0, 2]], atol=0.005)
