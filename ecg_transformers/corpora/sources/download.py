"""Downloads from PhysioNet through its official client (extra `[download]`): it resumes, retries and verifies.

The list of files that a server sends is checked before a file is written: a path that leaves the target folder is
refused.
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...errors import CorpusError
from ..definition import CorpusDefinition

if TYPE_CHECKING:
    from physionet import PhysioNetClient

__all__ = ["check_manifest", "download_corpus"]

PHYSIONET = "https://physionet.org"

# A list of two million files has about 200 MB; more is no list of files.
_MAX_MANIFEST_BYTES = 2**28

# The client asks for the list again; should it get another one, these patterns keep it inside the target folder.
_OUTSIDE = ("/*", "../*", "*/../*", "..", "*/..", "*\\*", "?:*", "~*")


def download_corpus(
    definition: CorpusDefinition, target: str | Path, *, sampling_rate: float | None = None, base_url: str | None = None
) -> Path:
    """Downloads a corpus's official tree below `target`; files that are complete and correct are not fetched again.

    Args:
        definition: the corpus.
        target: folder in which `<project>-<version>` is created.
        sampling_rate: Hz, where a corpus is published at several rates in separate files; None: the highest.
        base_url: another server with PhysioNet's interface; None: PhysioNet or its mirror.

    Returns:
        The folder of the tree.

    Raises:
        CorpusError: the corpus cannot be downloaded, the client is not installed, the server's list of files is not
            safe, or files could not be fetched (the others are kept; the same call resumes).
    """
    project = definition.physionet
    if project is None:
        raise CorpusError(
            f"{definition.name} cannot be downloaded from PhysioNet; leave out --download and set --source."
        )
    try:
        from physionet import PhysioNetClient, download
    except ImportError:
        raise CorpusError("downloads need the package 'physionet': pip install 'ecg_transformers[download]'.") from None
    import requests
    from physionet.api.exceptions import PhysioNetAPIError
    from physionet.download import DownloadError

    rate = max(definition.native_rates, default=0) if sampling_rate not in definition.native_rates else sampling_rate
    include = [pattern.format(rate=f"{rate:g}") for pattern in project.include]
    address = (base_url or PHYSIONET).rstrip("/")
    where = f"{address}/files/{project.slug}/{project.version}/SHA256SUMS.txt"
    try:
        with PhysioNetClient(base_url=address) as client:
            check_manifest(_fetch_text(client, where), where)
        return download(
            project.slug,
            project.version,
            output_dir=str(target),
            include=include or None,
            exclude=list(_OUTSIDE),
            source="auto" if base_url is None else "physionet",
            base_url=address,
        )
    except DownloadError as error:
        names = ", ".join(name for name, _ in error.failures[:3])
        raise CorpusError(
            f"{len(error.failures)} files of {definition.name} could not be fetched ({names} ...: "
            f"{error.failures[0][1]}); {error.downloaded + error.skipped} are in "
            f"{error.destination}. Run the same command again to resume."
        ) from error
    except (PhysioNetAPIError, requests.RequestException) as error:
        raise CorpusError(f"{definition.name} could not be fetched from {address}: {error}") from error


def _fetch_text(client: "PhysioNetClient", url: str) -> str:
    """The text at a URL, refused beyond the largest plausible size of a list of files."""
    with client.session.get(url, timeout=client.timeout, stream=True) as response:
        response.raise_for_status()
        content = b""
        for piece in response.iter_content(2**20):
            content += piece
            if len(content) > _MAX_MANIFEST_BYTES:
                raise CorpusError(f"{url} has more than {_MAX_MANIFEST_BYTES >> 20} MiB; expected a list of files.")
    return content.decode("utf-8", errors="replace")


def check_manifest(text: str, where: str) -> list[str]:
    """The paths of a list of `<sha256> <path>` lines, if all of them stay inside the target folder.

    Raises:
        CorpusError: a path is absolute, goes up, names a drive, or a line is of another form.

    Example:
        >>> check_manifest("0" * 64 + "  records100/00000/00001_lr.dat", "SHA256SUMS.txt")
        ['records100/00000/00001_lr.dat']
    """
    paths = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        digest, _, path = line.strip().partition(" ")
        path = path.strip()
        if len(digest) != 64 or not path:
            raise CorpusError(f"{where}, line {number}: {line[:80]!r}; expected a SHA-256 sum and a path.")
        parts = PurePosixPath(path).parts
        if (
            path.startswith(("/", "~"))
            or ".." in parts
            or "\\" in path
            or "\0" in path
            or (parts and parts[0][1:2] == ":")
        ):
            raise CorpusError(
                f"{where}, line {number}: the path {path[:80]!r} leaves the target folder; nothing was fetched."
            )
        paths.append(path)
    return paths
