"""Publish a checkpoint to a folder or to the Hub: weights, preprocessing, golden recording, card, license, code.

    python training/publish.py CHECKPOINT --output_dir DIR
    python training/publish.py CHECKPOINT --repo_id OWNER/NAME             builds and verifies, uploads nothing
    python training/publish.py CHECKPOINT --repo_id OWNER/NAME --push [--public]

Everything is verified first: the result opens in a process without this package and reproduces the golden outputs, and
holds no pickle, no path of this machine and nothing about patients. The card is rendered from card.md and results.json
in hub_cards/NAME (or --card), else from the run's own results.json.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub.errors import HfHubHTTPError

from ecg_transformers.commands.entry import IMPORT_HELP, USER_ERRORS, arguments_of, run_script
from ecg_transformers.errors import CheckpointError

if TYPE_CHECKING:
    from ecg_transformers.publishing import Publication

REPOSITORY = Path(__file__).resolve().parents[1]
# Real recordings whose license allows publishing them; they ship with the tests. The first with the leads is taken.
GOLDEN_RECORDS = {
    "ptbxl/00001_lr": "PTB-XL 1.0.3, CC BY 4.0",
    "mitdb/100": "MIT-BIH Arrhythmia Database 1.0.0, ODC-By 1.0",
}


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="publish.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("checkpoint", metavar="CHECKPOINT", type=Path, help="folder of a run or of a publication")
    add("--output_dir", type=Path, metavar="DIR", help="folder to write; a checkpoint there is replaced")
    add("--repo_id", metavar="OWNER/NAME", help="repository on the Hub")
    add("--push", action="store_true", help="upload to --repo_id in one commit; private by default")
    add("--public", action="store_true", help="make a new repository public")
    add("--card", type=Path, metavar="DIR", help="folder with card.md and results.json (default: see above)")
    add("--golden_record", type=Path, metavar="RECORD", help="recording of the golden file; it is published (default: "
        "the checkpoint's, else one of PTB-XL or MIT-BIH)")  # fmt: skip
    add("--golden_source", default="", metavar="TEXT", help="corpus and license of the golden recording")
    add("--source", default="", metavar="URL", help="address of the repository of the package: the card links it and "
        "says how to install from it")  # fmt: skip
    add("--with_pretraining_state", action="store_true", help="publish the whole pretraining model, not its encoder")
    add("--with_decoder", action="store_true", help="publish encoder and decoder of a masked autoencoder")
    add("--bundle_code", action=argparse.BooleanOptionalAction, default=True,
        help="write the code that opens the folder without this package (default: yes)")  # fmt: skip
    add("--weights_dtype", choices=("bfloat16", "float32"), default="bfloat16", help="stored type (bfloat16)")
    add("--max_shard_size", default="5GB", metavar="SIZE", help="maximum size of a weights file (5GB)")
    add("--require_results", action=argparse.BooleanOptionalAction,
        help="fail without results.json (default: with --push)")  # fmt: skip
    add("--import", metavar="FILE|MODULE", help=IMPORT_HELP)
    return result


def find_card(options: argparse.Namespace) -> Path | None:
    """Returns `hub_cards/NAME` of this repository if it has a card of the published name."""
    if options.card is not None:
        return options.card
    name = (options.repo_id or str(options.output_dir or "")).rstrip("/").rpartition("/")[2]
    folder = REPOSITORY / "hub_cards" / name
    return folder if name and folder.is_dir() else None


def find_golden(checkpoint: Path) -> tuple[Path | None, str]:
    """Returns a golden recording with the leads of a checkpoint, and its source; none where there is no such one."""
    from ecg_transformers import read_record

    preprocessor = checkpoint / "preprocessor_config.json"
    leads = json.loads(preprocessor.read_text(encoding="utf-8"))["lead_names"] if preprocessor.is_file() else []
    for name, source in GOLDEN_RECORDS.items():
        path = REPOSITORY / "tests" / "data" / name
        if path.with_suffix(".hea").is_file() and set(leads) <= set(read_record(path).leads or ()):
            return path, source
    return None, ""


def main(argv: list[str] | None = None) -> "Publication":
    options = parser().parse_args(arguments_of(argv))
    # Here, so that help is there at once.
    from ecg_transformers.publishing import publish
    from ecg_transformers.publishing.golden import GOLDEN_FILE

    if options.output_dir is None and options.repo_id is None:
        raise CheckpointError("No destination given; set --output_dir DIR or --repo_id OWNER/NAME.")
    golden, source = options.golden_record, options.golden_source
    if golden is None and not (options.checkpoint / GOLDEN_FILE).is_file():
        golden, source = find_golden(options.checkpoint)
    done = publish(
        options.checkpoint,
        options.repo_id,
        output_dir=options.output_dir,
        dry_run=True if options.output_dir is None and not options.push else None,
        push=options.push,
        private=not options.public,
        card=find_card(options),
        golden_record=golden,
        golden_source=source,
        with_pretraining_state=options.with_pretraining_state,
        with_decoder=options.with_decoder,
        bundle_code=options.bundle_code,
        weights_dtype=options.weights_dtype,
        max_shard_size=options.max_shard_size,
        require_results=options.require_results,
        source=options.source,
    )
    print(report(done))
    return done


def report(done: "Publication") -> str:
    """Returns what was written, line by line."""
    lines = [f"files     {', '.join(done.files)}", f"golden    {done.verification.golden}"]
    if done.folder is not None:
        lines.append(f"folder    {done.folder}")
    if done.revision is not None:
        lines += [f"pushed    {done.url}", f"revision  {done.revision}"]
    elif done.repo_id is not None:
        lines.append(f"not sent  verified for {done.repo_id}; add --push to upload it")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(
        main,
        "publish.py",
        interrupted="nothing was published.",
        options=vars(parser().parse_args(["CHECKPOINT"])),
        errors=(*USER_ERRORS, HfHubHTTPError),
    )
