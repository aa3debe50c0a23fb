"""Ten thousand damaged WFDB headers: a record or an EcgError comes out, never another error, a hang, or gigabytes."""

import resource
import shutil

import numpy as np
import pytest

from ecg_transformers.errors import EcgError
from ecg_transformers.signals.record import MAX_SAMPLING_RATE, MIN_SAMPLING_RATE
from ecg_transformers.signals.wfdb.read import read_wfdb

MUTATIONS = 10_000
NAME = "tiny"
# What replaces a whole field: numbers out of range, other formats, paths, other alphabets.
FIELDS = [b"", b"\x00", b"\xff\xfe", b"\xc2\xb2", b"9" * 40]
FIELDS += b"../../etc/passwd /dev/zero tiny.hea 31/02/2020".split()
FIELDS += b"0 -1 1 999999999999 1e308 1e400 nan inf -0 0x10 1_0 ~ - . # V1 12/3 0/0 250/250(0) 12:00:00".split()
FIELDS += b"8 24 61 80 212 310 311 508 516 524 16x0 16x2 16x9999 16:5 16+24 16+999".split()
FIELDS += b"1(99999999999)/mV 0/V 1e-300/uV 1000/mmHg 1000(0)/".split()


def mutated(header: bytes, generator: np.random.Generator) -> bytes:
    """The header with one kind of damage."""
    kind = generator.integers(6)
    content = bytearray(header)
    if generator.integers(50) == 0:
        # The same odd field in every line, so that other decoders are reached.
        return header.replace(b" 16 1000.0(0)/mV", b" " + FIELDS[generator.integers(len(FIELDS))] + b" 1000.0(0)/mV")
    if kind <= 1:
        for position in generator.integers(len(content), size=generator.integers(1, 5)):
            content[position] = generator.integers(256)
    elif kind <= 3:
        lines = header.split(b"\n")
        number = generator.integers(len(lines))
        fields = lines[number].split(b" ")
        fields[generator.integers(len(fields))] = FIELDS[generator.integers(len(FIELDS))]
        lines[number] = b" ".join(fields)
        content = bytearray(b"\n".join(lines))
    elif kind == 4:
        start, length = generator.integers(len(content)), generator.integers(1, 40)
        del content[start : start + length]
    else:
        lines = header.split(b"\n")
        first, second = generator.integers(len(lines), size=2)
        lines.insert(first, lines[second])
        content = bytearray(b"\n".join(lines))
    return bytes(content)


def overwrite(path, content: bytes) -> None:
    """New content in the same file, without emptying it first: some file systems wait for the disk then."""
    with path.open("r+b", buffering=0) as file:
        file.write(content)
        file.truncate()


@pytest.fixture
def tiny(tmp_path, data_dir):
    """A record of 12 leads and 40 samples, header and checksums right."""
    folder = tmp_path / "fuzz"
    folder.mkdir()
    samples = np.fromfile(data_dir / "ptbxl" / "00001_lr.dat", dtype="<i2")[: 12 * 40].reshape(40, 12)
    samples.tofile(folder / f"{NAME}.dat")
    names = "I II III AVR AVL AVF V1 V2 V3 V4 V5 V6".split()
    sums = samples.sum(axis=0, dtype=np.int16)
    lines = [f"{NAME} 12 100 40 10:20:30 16/05/2014"]
    lines += [f"{NAME}.dat 16 1000.0(0)/mV 16 0 {samples[0, i]} {sums[i]} 0 {names[i]}" for i in range(12)]
    lines += ["#Age: 56", "#Sex: Female", "#Dx: 426783006"]
    (folder / f"{NAME}.hea").write_text("\n".join(lines) + "\n")
    return folder


def test_damaged_headers_give_records_or_ecg_errors(tiny):
    path = tiny / f"{NAME}.hea"
    header = path.read_bytes()
    assert read_wfdb(path).notes == []
    generator = np.random.default_rng(20260109)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes, unnamed = {"record": 0, "error": 0}, 0
    for number in range(MUTATIONS):
        damaged = mutated(header, generator)
        overwrite(path, damaged)
        try:
            record = read_wfdb(path, annotator=None)
        except EcgError as error:
            outcomes["error"] += 1
            unnamed += NAME not in str(error)
        except Exception as error:
            pytest.fail(f"mutation {number} gave {type(error).__name__}: {error}\n{damaged!r}")
        else:
            outcomes["record"] += 1
            assert record.signal.size <= 100_000
            assert MIN_SAMPLING_RATE <= record.sampling_rate <= MAX_SAMPLING_RATE
            assert not np.isinf(record.signal).any(), damaged
            assert record.leads is None or len(set(record.leads)) == record.num_leads
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown} kB more memory"
    assert unnamed == 0, "errors without the file's name"
    assert min(outcomes.values()) > MUTATIONS // 20, outcomes


def test_cut_off_files_of_every_length_give_records_or_ecg_errors(tiny, tmp_path):
    content = (tiny / f"{NAME}.dat").read_bytes()
    shutil.copy(tiny / f"{NAME}.hea", tmp_path)
    for length in range(0, len(content), 7):
        (tmp_path / f"{NAME}.dat").write_bytes(content[:length])
        with pytest.raises(EcgError, match=str(len(content))):
            read_wfdb(tmp_path / NAME)
