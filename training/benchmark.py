"""Compare several systems on a prepared corpus: run what is missing, print the table, write it and its plots.

    python training/benchmark.py CONFIG --corpus DIR --output_dir DIR [--labels all superclass] [--seeds 0 1 2]
        [--label_efficiency 1 2 4 8] [--dry_run] [--any_setting_of_finetune value ...]

CONFIG (training/configs/benchmark_ptbxl.yaml) lists systems: checkpoints and recipes with their settings. Each run is
what training/finetune.py does, in a folder of its own under DIR/runs; a finished one is not repeated, a killed one
resumes, a changed setting is a new run.  finetune.py --help  lists its settings. DIR gets table.csv, table.png and, for
several numbers of folds, label_efficiency.png. The exit status is 1 if a run failed.

A CONFIG with `splits` (training/configs/beatgan_mitdb.yaml) compares systems that score beats: each is pretrained on
the normal beats of every split with every seed and scored on its test beats; `claims` are judged by paired intervals.
"""

from ecg_transformers.commands.benchmark_options import BeatBenchmarkArguments, BenchmarkArguments
from ecg_transformers.commands.entry import arguments_of, run_script
from ecg_transformers.commands.help import command_help, wants_help
from ecg_transformers.commands.memory import keep_freed_memory


def main(argv: list[str] | None = None) -> int:
    argv = arguments_of(argv)
    if wants_help(argv):
        print(command_help(str(__doc__), BenchmarkArguments))
        print("\n" + command_help("With a CONFIG that has splits of beats:", BeatBenchmarkArguments))
        return 0
    # Here, so that help is there at once.
    from transformers.utils import logging

    from ecg_transformers.commands.benchmark import Benchmark
    from ecg_transformers.commands.benchmark_beats import BeatBenchmark, is_beat_benchmark, read_beat_benchmark
    from ecg_transformers.commands.benchmark_plan import read_benchmark
    from ecg_transformers.commands.benchmark_table import benchmark_table
    from ecg_transformers.commands.finetune import is_main_process
    from ecg_transformers.evaluation.results.store import add_to_card

    def print_line(line: str) -> None:
        if is_main_process():
            print(line, flush=True)

    if is_beat_benchmark(argv):
        beats = BeatBenchmark(read_beat_benchmark(argv), print_line=print_line)
        if beats.arguments.dry_run:
            print_line(beats.listing())
        else:
            beats.run()
        print_line(beats.table())
        return 1 if beats.problems else 0
    arguments, common, overrides = read_benchmark(argv)
    if not is_main_process():
        logging.set_verbosity_error()
    benchmark = Benchmark(arguments, common, overrides, print_line=print_line)
    if arguments.dry_run:
        print_line(benchmark.listing())
    else:
        benchmark.run()
    if is_main_process() and benchmark.started:
        table = benchmark_table(benchmark)
        print_line(f"\n{table.text()}")
        if not arguments.dry_run:
            for path in table.write(str(arguments.output_dir)):
                print_line(f"-> {path}")
            if arguments.card is not None and (entries := benchmark.entries(card=arguments.card)):
                print_line(f"-> {add_to_card(arguments.card, entries)}")
    return 1 if benchmark.problems else 0


def option_names() -> set[str]:
    """Names of the options, those of the runs included."""
    from ecg_transformers.commands.downstream import FineTuneArguments
    from ecg_transformers.commands.options import option_types

    return {*option_types(BenchmarkArguments), *option_types(FineTuneArguments)}


if __name__ == "__main__":
    keep_freed_memory()
    run_script(
        main,
        "benchmark.py",
        interrupted="run the same command again to resume.",
        options=option_names,
    )
