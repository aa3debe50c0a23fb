"""Publish a checkpoint to a folder or to the Hub: weights, preprocessing, golden recording, card, license, code.

    python training/publish.py CHECKPOINT --output_dir DIR
    python training/publish.py CHECKPOINT --repo_id OWNER/NAME             builds and checks everything, sends nothing
    python training/publish.py CHECKPOINT --repo_id OWNER/NAME --push [--public]

Everything is verified before: it opens in a process without this package and gives the golden numbers, no pickle, no
path of this machine and nothing about patients is in it. The card is rendered from card.md and results.json in
hub_cards/NAME (or --card), else from the run's own results.json.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError

from ecg_transformers.errors import CheckpointError, EcgError
from ecg_transformers.publishing import Publication, publish
from ecg_transformers.publishing.golden import GOLDEN_FILE

REPOSITORY = Path(__file__).resolve().parents[1]
# A real recording with a license that allows to publish it; it ships with the tests.
GOLDEN_RECORD = REPOSITORY / "tests" / "data" / "ptbxl" / "00001_lr"
GOLDEN_SOURCE = "PTB-XL 1.0.3, CC BY 4.0"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="publish.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="folder of a run or of a publication")
    result.add_argument(
        "--output_dir", type=Path, metavar="DIR", help="folder to write; replaced if it is a checkpoint"
    )
    result.add_argument("--repo_id", metavar="OWNER/NAME", help="repository on the Hub")
    result.add_argument("--push", action="store_true", help="upload to --repo_id in one commit; private by default")
    result.add_argument("--public", action="store_true", help="a new repository is public")
    result.add_argument(
        "--card", type=Path, metavar="DIR", help="folder with card.md, results.json (default: see above)"
    )
    result.add_argument(
        "--golden_record", type=Path, metavar="RECORD",
        help="recording of the golden file; it is published (default: the checkpoint's, else one of PTB-XL)",
    )  # fmt: skip
    result.add_argument("--golden_source", default="", metavar="TEXT", help="its corpus and license in words")
    result.add_argument(
        "--with_pretraining_state",
        action="store_true",
        help="publish decoder, twin and queue too, not the encoder alone",
    )
    result.add_argument("--weights_dtype", choices=("bfloat16", "float32"), default="bfloat16", help="(bfloat16)")
    result.add_argument("--max_shard_size", default="5GB", metavar="SIZE", help="size of a weights file (5GB)")
    result.add_argument(
        "--require_results",
        action=argparse.BooleanOptionalAction,
        help="stop without results.json (default: with --push)",
    )
    return result


def find_card(options: argparse.Namespace) -> Path | None:
    """`hub_cards/NAME` of this repository, if there is one of the name that is published."""
    if options.card is not None:
        return options.card
    name = (options.repo_id or str(options.output_dir or "")).rstrip("/").rpartition("/")[2]
    folder = REPOSITORY / "hub_cards" / name
    return folder if name and folder.is_dir() else None


def main(words: list[str] | None = None) -> Publication:
    options = parser().parse_args(words)
    if options.output_dir is None and options.repo_id is None:
        raise CheckpointError("nothing says where to publish; set --output_dir DIR or --repo_id OWNER/NAME.")
    golden, source = options.golden_record, options.golden_source
    if (
        golden is None
        and not (options.checkpoint / GOLDEN_FILE).is_file()
        and GOLDEN_RECORD.with_suffix(".hea").is_file()
    ):
        golden, source = GOLDEN_RECORD, GOLDEN_SOURCE
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
        weights_dtype=options.weights_dtype,
        max_shard_size=options.max_shard_size,
        require_results=options.require_results,
    )
    print(report(done))
    return done


def report(done: Publication) -> str:
    lines = [f"files     {', '.join(done.files)}", f"golden    {done.verification.golden}"]
    if done.folder is not None:
        lines.append(f"folder    {done.folder}")
    if done.revision is not None:
        lines += [f"pushed    {done.url}", f"revision  {done.revision}"]
    elif done.repo_id is not None:
        lines.append(f"not sent  everything is in order for {done.repo_id}; add --push to send it")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except (EcgError, HfHubHTTPError) as error:
        sys.exit(f"publish.py: {type(error).__name__}: {error}")
