"""Preparing PTB-XL from WFDB against a plain loop of `wfdb.rdrecord` over the same records with as many processes.

The baseline only reads records and throws them away; preparing also parses the table, checks headers, sizes and
checksums, reads annotations, hashes and writes the Arrow corpus. Run it on a machine that does nothing else:

    python benchmarks/bench_prepare.py --source path/to/ptb-xl --num_proc 1 2
"""

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets  # noqa: F401  (loaded before the clock starts)

from ecg_transformers.corpora import corpus_definition
from ecg_transformers.corpora.build import build_corpus


def read_plainly(root: Path, paths: list[str]) -> int:
    """What a script without this package does."""
    import wfdb

    return sum(wfdb.rdrecord(str(root / path.removesuffix(".hea"))).sig_len > 0 for path in paths)


def first_records(source, sampling_rate, *, find, count):
    """The corpus's own plan, cut to `count` records."""
    root, records = find(source, sampling_rate)
    return root, records[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=Path, help="official tree of PTB-XL")
    parser.add_argument("--sampling_rate", type=int, default=100, choices=(100, 500))
    parser.add_argument("--records", type=int, default=4000, help="how many records both read")
    parser.add_argument("--num_proc", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    whole = corpus_definition("ptbxl")
    definition = replace(whole, find=partial(first_records, find=whole.find, count=options.records))
    root, records = definition.find(options.source, options.sampling_rate)
    paths = [record.path for record in records]
    read_plainly(root, paths[:50])
    print(f"{len(paths)} records of PTB-XL at {options.sampling_rate} Hz, files in the cache of the system")
    print(f"{'processes':>9} {'rdrecord/s':>11} {'prepared/s':>11} {'ratio':>6}")
    for processes in options.num_proc:
        started = time.perf_counter()
        if processes == 1:
            read_plainly(root, paths)
        else:
            with ProcessPoolExecutor(processes) as pool:
                list(
                    pool.map(
                        partial(read_plainly, root), [paths[index :: 8 * processes] for index in range(8 * processes)]
                    )
                )
        plain = len(paths) / (time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            build_corpus(
                definition,
                options.source,
                Path(folder) / "ptbxl",
                num_proc=processes,
                sampling_rate=options.sampling_rate,
                progress=False,
            )
            prepared = len(paths) / (time.perf_counter() - started)
        print(f"{processes:>9} {plain:>11.0f} {prepared:>11.0f} {prepared / plain:>6.1f}")


if __name__ == "__main__":
    main()
