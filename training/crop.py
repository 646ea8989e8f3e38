"""Photos -> crops of the one face that counts, by the annotators' boxes or by a detector.

Every photo goes through kfer.photos and every crop through kfer.faces, as in the app. Photos that
cannot be read, or show no face, are listed, never deleted. What is done is not done again unless
the photo, its box or the settings have changed.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from PIL import Image

from kfer.bundle import hash_file
from kfer.errors import PhotoError
from kfer.faces import (
    DETECTORS,
    CropSpec,
    Detector,
    Face,
    build_detector,
    crop_face,
    detect_faces,
)
from kfer.files import replacing
from kfer.photos import Photo, open_photo
from training.errors import DataError
from training.files import replace_text, write_log
from training.manifest import BOX, write_manifest

BOXES = "boxes"  # by the annotators' boxes; the other ways are names of detectors
WAYS = (BOXES, *(name for name in DETECTORS if name != "none"))
MANIFEST, SETTINGS, NOTES, LOG = "manifest.csv", "crop.json", "crop.jsonl", "crop.error.log"
QUALITY = 95  # of the JPEG files: 90 % smaller than PNG, and not to be told apart
CHUNK = 32  # photos that a process takes at a time


@dataclass(frozen=True)
class CropSettings:
    """How faces are cut out; ``by`` is "boxes" or a detector. Written beside the crops."""

    by: str
    spec: CropSpec
    weights: Path | None = None

    def describe(self) -> str:
        settings = {**asdict(self), "weights": self.weights and hash_file(self.weights)}
        return json.dumps(settings, indent=2) + "\n"


@dataclass(frozen=True)
class Job:
    """A photo, and the box of its face where annotators drew one.

    ``way`` stands for all that decides about the crop beside the photo: its box and the settings.
    """

    photo: Path
    path: str
    box: tuple[float, float, float, float] | None
    target: Path
    way: str


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    ``file``, ``stamp`` and ``way`` are what it was made of: sha256 of the photo's bytes, the file's
    size and time, and the job's way.
    ``photo`` stands for the upright photo's pixels, ``pixels`` for the crop's. ``face`` is the box
    that was cut, in pixels of the upright photo; ``score`` the detector's, or 1 for an annotator;
    ``faces`` is how many were found. ``error`` is set where there is no crop.
    """

    path: str
    file: str = ""
    stamp: str = ""
    way: str = ""
    photo: str = ""
    pixels: str = ""
    face: tuple[float, float, float, float] | None = None
    score: float = 0.0
    faces: int = 0
    width: int = 0
    height: int = 0
    error: str | None = None


# Work, jobs and how many at once -> outcomes, as they are done.
Engine = Callable[[Callable[[Job], Outcome], Sequence[Job], int], Iterator[Outcome]]


def run_processes(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int
) -> Iterator[Outcome]:
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned: a fork of a process whose libraries run threads may hang.
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=use_one_thread
    ) as processes:
        try:
            yield from processes.map(work, jobs, chunksize=CHUNK)
        finally:
            processes.shutdown(cancel_futures=True)


def use_one_thread() -> None:
    """As many processes as cores: threads of their own would only be in each other's way.

    Read by libraries that no spawned process has imported yet.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENCV_FOR_THREADS_NUM"] = "1"


def crop_photos(
    table: pd.DataFrame,
    images: Path,
    out: Path,
    settings: CropSettings,
    workers: int,
    report: Callable[[Outcome], None],
    engine: Engine = run_processes,
) -> pd.DataFrame:
    """Cut every picture of the manifest; returns out's manifest, without those that have no crop.

    ``path`` then names the crop, relative to ``out``. Added are ``photo``, ``pixels`` of the crop,
    the box that was cut, ``score``, ``faces``, and ``width`` and ``height`` of the photo;
    crop.error.log lists what could not be cut and why.
    Raises DetectorError where a detector is missing, DataError where the manifest has no boxes.
    """
    if settings.by == BOXES and not set(BOX) <= set(table.columns):
        raise DataError("--manifest: has no boxes; name a detector by --by mtcnn or --by haar.")
    if settings.by != BOXES:
        build_detector(settings.by, settings.weights)  # what is missing is said before any work
    out.mkdir(parents=True, exist_ok=True)
    done = _read_notes(out)
    jobs = _find_due(list(_list_jobs(table, images, out, settings)), done, workers)
    if jobs:
        _forget({job.path for job in jobs}, done, out)
    replace_text(out / SETTINGS, settings.describe())
    for outcome in engine(partial(cut, settings=settings), jobs, workers):
        done[outcome.path] = outcome
        _note(outcome, out)
        report(outcome)
    outcomes = [done[path] for path in table["path"]]
    failed = [outcome for outcome in outcomes if outcome.error]
    write_log(out / LOG, [f"{outcome.path}\t{outcome.error}" for outcome in failed])
    manifest = _tabulate(table, outcomes)
    write_manifest(manifest, out / MANIFEST)
    return manifest


def cut(job: Job, settings: CropSettings) -> Outcome:
    """Cut one photo and write the crop."""
    try:
        stamp, data = _stamp(job.photo), job.photo.read_bytes()
    except OSError as error:
        return Outcome(job.path, error=f"The file cannot be opened: {error.strerror}.")
    try:
        photo = open_photo(data)
        faces = _find_faces(photo, job, settings)
    except PhotoError as error:
        return Outcome(job.path, error=str(error))
    if not faces:
        return Outcome(job.path, width=photo.width, height=photo.height, error="no face was found")
    # Among several, the largest: the others are people in the background.
    face = max(faces, key=lambda each: each.area)
    crop = crop_face(photo.image, face, settings.spec)
    try:
        _save(crop, job.target)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return Outcome(job.path, error="its name is too long for the crop's")
        raise DataError(f"--out {job.target}: cannot be written ({error.strerror}).") from error
    with Image.open(job.target) as saved:  # as every later stage will read it
        pixels = hashlib.sha256(saved.tobytes()).hexdigest()
    left, top, width, height = face.scaled(photo.scale).box
    return Outcome(
        job.path,
        hashlib.sha256(data).hexdigest(),
        stamp,
        job.way,
        _hash_photo(photo),
        pixels,
        (left, top, left + width, top + height),
        face.score,
        len(faces),
        photo.width,
        photo.height,
    )


def _find_faces(photo: Photo, job: Job, settings: CropSettings) -> list[Face]:
    """In pixels of ``photo.image``."""
    if settings.by != BOXES:
        detector = _get_detector(settings.by, settings.weights)
        return detect_faces(detector, photo.image, photo.scale) if detector else []
    if job.box is None:
        return []
    left, top, right, bottom = job.box
    inside = left < photo.width and top < photo.height and right > 0 and bottom > 0
    longest = 2 * max(photo.width, photo.height)
    if not (inside and 0 < right - left <= longest and 0 < bottom - top <= longest):
        raise PhotoError(
            f"the box {left:g}, {top:g}, {right:g}, {bottom:g} does not fit the upright photo's "
            f"{photo.width} x {photo.height} px"
        )
    return [Face((left, top, right - left, bottom - top), 1.0).scaled(1 / photo.scale)]


@cache
def _get_detector(name: str, weights: Path | None) -> Detector | None:
    """Built once in every process."""
    return build_detector(name, weights)


def _hash_photo(photo: Photo) -> str:
    """The same for the same upright pixels, whichever way they are stored.

    Of the picture as it was reduced on reading: decoding the whole takes several times as long, and
    the same pixels are reduced alike. (Only large photos saved again in another format differ.)
    """
    digest = hashlib.sha256(f"{photo.width}x{photo.height}".encode())
    digest.update(photo.image.tobytes())
    return digest.hexdigest()


def _save(crop: Image.Image, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as unfinished:
        crop.save(unfinished, "JPEG", quality=QUALITY)


def _list_jobs(
    table: pd.DataFrame, images: Path, out: Path, settings: CropSettings
) -> Iterator[Job]:
    described = settings.describe()
    # Another machine's work begins in another folder.
    images, out = images.absolute(), out.absolute()
    boxes = table[BOX].to_numpy() if settings.by == BOXES else None
    for row, path in enumerate(table["path"]):
        box = None
        if boxes is not None and not pd.isna(boxes[row]).any():
            left, top, right, bottom = (float(value) for value in boxes[row])
            box = (left, top, right, bottom)
        way = hashlib.sha256(f"{described}{box}".encode()).hexdigest()
        yield Job(images / path, path, box, out / name_crop(path), way)


def name_crop(path: str) -> str:
    """The crop's own path: the photo's, with its suffix in the name, so that no two collide."""
    return f"{path}.jpg"


def _find_due(jobs: Sequence[Job], done: Mapping[str, Outcome], workers: int) -> list[Job]:
    """Those that are new, or whose photo, box or settings have changed since."""
    with ThreadPool(workers) as threads:  # reading and hashing hold no other thread up
        current = threads.map(partial(_is_current, done=done), jobs)
    return [job for job, fine in zip(jobs, current, strict=True) if not fine]


def _is_current(job: Job, done: Mapping[str, Outcome]) -> bool:
    outcome = done.get(job.path)
    if outcome is None or outcome.way != job.way:
        return False
    try:
        # Half a million photos are not all read again, unless they were copied or touched.
        return _stamp(job.photo) == outcome.stamp or hash_file(job.photo) == outcome.file
    except OSError:  # a photo that is gone has not changed
        return True


def _stamp(photo: Path) -> str:
    status = photo.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _forget(paths: Set[str], done: dict[str, Outcome], out: Path) -> None:
    """Before anything is cut anew: a killed run then leaves no note of a crop that it replaced."""
    if not paths.isdisjoint(done):
        (out / MANIFEST).unlink(missing_ok=True)  # it describes crops that are about to go
    for path in paths:
        done.pop(path, None)
    replace_text(out / NOTES, "".join(_write_line(outcome) for outcome in done.values()))


def _read_notes(out: Path) -> dict[str, Outcome]:
    """What earlier runs cut and still lies there, by the photo's path.

    Photos that failed are tried again: somebody may have mended them. A line that a killed run left
    half written is left out.
    """
    try:
        lines = (out / NOTES).read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    done: dict[str, Outcome] = {}
    for line in lines:
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        fields["face"] = tuple(fields["face"])
        outcome = Outcome(**fields)
        if (out / name_crop(outcome.path)).exists():
            done[outcome.path] = outcome
    return done


def _note(outcome: Outcome, out: Path) -> None:
    if outcome.error:
        return
    with (out / NOTES).open("a", encoding="utf-8") as file:
        file.write(_write_line(outcome))


def _write_line(outcome: Outcome) -> str:
    """The break comes first: it also ends a line that a killed run left half written."""
    return "\n" + json.dumps(asdict(outcome), ensure_ascii=False)


def _tabulate(table: pd.DataFrame, outcomes: list[Outcome]) -> pd.DataFrame:
    kept = [outcome.error is None for outcome in outcomes]
    cropped = [outcome for outcome in outcomes if outcome.error is None]
    manifest = table.loc[kept].reset_index(drop=True)
    manifest["path"] = [name_crop(outcome.path) for outcome in cropped]
    manifest[BOX] = pd.DataFrame([outcome.face for outcome in cropped], columns=BOX)
    for column in ("photo", "pixels", "score", "faces", "width", "height"):
        manifest[column] = [getattr(outcome, column) for outcome in cropped]
    return manifest
