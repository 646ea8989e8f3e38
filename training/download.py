"""Files that a label file names by URL -> an image folder: many at once, resumed, nothing half.

A file that is there is not fetched again; one that is under way has another name until it is whole.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import urllib3

from kfer.files import replacing
from training.errors import DataError
from training.files import write_log
from training.sources.aihub import TSV_COLUMNS, clean_names, find_name_problems, place
from training.sources.tsv import Refused, read_lines

RETRIES = urllib3.Retry(
    total=5,
    backoff_factor=0.5,  # seconds; doubled each time
    retry_after_max=10,  # seconds, whatever a server asks for: an interrupt waits for them
    status_forcelist=(408, 429, 500, 502, 503, 504),
    raise_on_status=False,
)
TIMEOUT = urllib3.Timeout(connect=10, read=60)
BODY_TRIES = 4
CHUNK_BYTES, MAX_BYTES = 2**16, 64 * 2**20  # of a body
PENDING = 8  # files asked for at a time, per worker: enough to keep all busy, little to lose
DOWNLOAD_LOG, PARSE_LOG = "download.error.log", "parse.error.log"


@dataclass(frozen=True)
class Wanted:
    """A file to fetch; ``row`` is its row of the label file, to be written back where it fails."""

    url: str
    path: str
    row: dict[str, str]


@dataclass(frozen=True)
class Fetched:
    """What became of one file.

    ``new`` where it was not there before; ``error`` is None where it is there now.
    """

    wanted: Wanted
    new: bool
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """How many files were there already, fetched, refused by their servers, named in bad rows."""

    present: int = 0
    fetched: int = 0
    failed: int = 0
    malformed: int = 0


def read_wanted(path: Path) -> tuple[list[Wanted], list[Refused]]:
    """What a TSV of AI Hub, or a download.error.log, names; and its malformed rows.

    Raises DataError when the file is neither.
    """
    lines = read_lines(path, TSV_COLUMNS, ("name", "url"))
    table = lines.table
    names = clean_names(table["name"].combine_chunks())
    problems = find_name_problems(names)
    wanted: list[Wanted] = []
    refused = list(lines.refused)
    rows = zip(table.to_pylist(), place(names).to_pylist(), problems, lines.numbers, strict=True)
    for row, where, problem, number in rows:
        url = row["url"].strip()
        if not problem and not url.startswith(("http://", "https://")):
            problem = f"url {url!r} does not begin with http:// or https://"
        if problem:
            refused.append(Refused(path.name, int(number), problem))
        else:
            wanted.append(Wanted(url, where, row))
    if not wanted:
        raise DataError(
            f"--input {path}: names no file that can be fetched; is it a TSV of AI Hub?"
        )
    return wanted, sorted(refused, key=lambda each: each.line)


def download(
    source: Path,
    wanted: Sequence[Wanted],
    refused: Sequence[Refused],
    out: Path,
    workers: int,
    report: Callable[[Fetched], None],
) -> Summary:
    """Fetch what ``source`` wants into ``out``; what failed stands in out's two logs afterwards.

    So does what failed of other sources, unless it is there by now. Raises DataError where such a
    log is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    earlier = _read_failed(out / DOWNLOAD_LOG)
    _log_refused(refused, source, out)
    summary = Summary(malformed=len(refused))
    failed: list[Fetched] = []
    for fetched in fetch_all(wanted, out, workers):
        report(fetched)
        if fetched.error:
            failed.append(fetched)
            summary = replace(summary, failed=summary.failed + 1)
        elif fetched.new:
            summary = replace(summary, fetched=summary.fetched + 1)
        else:
            summary = replace(summary, present=summary.present + 1)
    tried = {each.path for each in wanted}
    open_still = [
        each.row for each in earlier if each.path not in tried and not (out / each.path).exists()
    ]
    rows = [{**each.wanted.row, "error": " ".join((each.error or "").split())} for each in failed]
    # Only now: an interrupt must not drop rows that a log held as the source.
    _write_failed([*open_still, *rows], out / DOWNLOAD_LOG)
    return summary


def fetch_all(wanted: Sequence[Wanted], out: Path, workers: int) -> Iterator[Fetched]:
    """In the order in which they are done."""
    pool = urllib3.PoolManager(num_pools=workers, maxsize=workers, retries=RETRIES, timeout=TIMEOUT)
    rest = iter(wanted)
    with pool, ThreadPoolExecutor(workers) as threads:
        running: set[Future[Fetched]] = set()
        try:
            while True:
                for each in islice(rest, workers * PENDING - len(running)):
                    running.add(threads.submit(_fetch, pool, each, out))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:  # an interrupt waits for the files under way, not for those that wait their turn
            for future in running:
                future.cancel()


def _fetch(pool: urllib3.PoolManager, wanted: Wanted, out: Path) -> Fetched:
    target = out / wanted.path
    try:
        if target.exists():
            return Fetched(wanted, new=False)
        body, problem = _read(pool, wanted.url)
        if problem:
            return Fetched(wanted, new=True, error=problem)
        _write(target, body)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        return Fetched(wanted, new=True, error=f"{type(error).__name__}: {error}")
    return Fetched(wanted, new=True)


def _read(pool: urllib3.PoolManager, url: str) -> tuple[bytes, str]:
    """The body, or why there is none to be kept. A body that ends early is asked for again."""
    for _ in range(BODY_TRIES - 1):
        with suppress(urllib3.exceptions.ProtocolError):
            return _read_once(pool, url)
    return _read_once(pool, url)


def _read_once(pool: urllib3.PoolManager, url: str) -> tuple[bytes, str]:
    response = pool.request("GET", url, preload_content=False)
    try:
        if response.status != 200:
            return b"", f"HTTP {response.status} {response.reason}"
        body = bytearray()
        for chunk in response.stream(CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BYTES:
                return b"", f"is larger than {MAX_BYTES // 2**20} MB"
    finally:
        response.close()
    if not body:
        return b"", "is empty"
    # A page that says "log in", with status 200, would stay there as the picture for good.
    if bytes(body[:64]).lstrip()[:1] in (b"<", b"{"):
        return b"", f"is no picture ({response.headers.get('Content-Type', 'text')})"
    return bytes(body), ""


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as unfinished:
        unfinished.write_bytes(data)


def _log_refused(refused: Sequence[Refused], source: Path, out: Path) -> None:
    """The source's lines replace those of its last time; other sources' lines stay."""
    # By its place seen from the log: two folders may each hold a labels.tsv.
    name = os.path.relpath(source.resolve(), out.resolve())
    log = out / PARSE_LOG
    lines = log.read_text(encoding="utf-8").split("\n") if log.exists() else []
    others = [line for line in lines if line and not line.startswith(f"{name}:")]
    write_log(log, others + [str(replace(each, file=name)) for each in refused])


def _read_failed(log: Path) -> list[Wanted]:
    if not log.exists():
        return []
    failed, refused = read_wanted(log)
    if refused:
        raise DataError(f"--out {log.parent}: {refused[0]}; mend or delete that line of the log.")
    return failed


def _write_failed(rows: Sequence[dict[str, str]], log: Path) -> None:
    """With all columns of every source, and the reason."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[row.get(column, "") for column in columns] for row in rows]
    write_log(log, ["\t".join(line) for line in ([columns, *cells] if cells else [])])
