"""Photos -> crops of the one face that counts, by the annotators' boxes or by a detector.

Every photo goes through kfer.photos and every crop through kfer.faces, as in the app. Photos that
cannot be read, or show no face, are listed, never deleted. What is done is not done again.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from PIL import Image

from kfer.errors import PhotoError
from kfer.faces import CropSpec, Detector, Face, build_detector, crop_face, detect_faces
from kfer.photos import Photo, load_photo
from training.errors import ConfigError, DataError
from training.files import replace_text, write_log
from training.manifest import BOX, write_manifest

BOXES = "boxes"  # by the annotators' boxes; the other ways are names of detectors
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
        settings = {**asdict(self), "weights": self.weights and self.weights.name}
        return json.dumps(settings, indent=2) + "\n"


@dataclass(frozen=True)
class Job:
    """A photo, and the box of its face where annotators drew one."""

    photo: Path
    path: str
    box: tuple[float, float, float, float] | None
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    ``face`` is the box that was cut, in pixels of the upright photo; ``score`` the detector's, or
    1 for an annotator; ``faces`` is how many were found. ``error`` is set where there is no crop.
    """

    path: str
    pixels: str = ""
    face: tuple[float, float, float, float] | None = None
    score: float = 0.0
    faces: int = 0
    width: int = 0
    height: int = 0
    error: str | None = None


def crop_photos(
    table: pd.DataFrame,
    images: Path,
    out: Path,
    settings: CropSettings,
    workers: int,
    report: Callable[[Outcome], None],
) -> pd.DataFrame:
    """Cut every picture of the manifest; returns out's manifest, without those that have no crop.

    ``path`` then names the crop, relative to ``out``. Added are ``pixels`` of the crop, the box
    that was cut, ``score``, ``faces``, and ``width`` and ``height`` of the photo; crop.error.log
    lists what could not be cut and why.
    Raises ConfigError where ``out`` holds crops of other settings or a detector is missing,
    DataError where the manifest has no boxes.
    """
    if settings.by == BOXES and not set(BOX) <= set(table.columns):
        raise DataError("--manifest: has no boxes; name a detector by --by mtcnn or --by haar.")
    _check_settings(settings, out)
    if settings.by != BOXES:
        build_detector(settings.by, settings.weights)  # what is missing is said before any work
    done = _read_notes(out)
    jobs = [job for job in _list_jobs(table, images, out, settings) if job.path not in done]
    for outcome in _run(jobs, settings, workers):
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
        photo = load_photo(job.photo)
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
    if not inside or max(right - left, bottom - top) > 2 * max(photo.width, photo.height):
        raise PhotoError(
            f"the box {left:g}, {top:g}, {right:g}, {bottom:g} does not fit the upright photo's "
            f"{photo.width} x {photo.height} px"
        )
    return [Face((left, top, right - left, bottom - top), 1.0).scaled(1 / photo.scale)]


@cache
def _get_detector(name: str, weights: Path | None) -> Detector | None:
    """Built once in every process."""
    return build_detector(name, weights)


def _save(crop: Image.Image, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".part")
    crop.save(temporary, "JPEG", quality=QUALITY)
    temporary.replace(target)


def _check_settings(settings: CropSettings, out: Path) -> None:
    path = out / SETTINGS
    described = settings.describe()
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        replace_text(path, described)
    elif path.read_text(encoding="utf-8") != described:
        raise ConfigError(
            f"--out {out}: holds crops of other settings ({path.name} says which); give the same "
            "ones, or name another folder."
        )


def _list_jobs(
    table: pd.DataFrame, images: Path, out: Path, settings: CropSettings
) -> Iterator[Job]:
    boxes = table[BOX].to_numpy() if settings.by == BOXES else None
    for row, path in enumerate(table["path"]):
        box = None
        if boxes is not None and not pd.isna(boxes[row]).any():
            left, top, right, bottom = (float(value) for value in boxes[row])
            box = (left, top, right, bottom)
        yield Job(images / path, path, box, out / name_crop(path))


def name_crop(path: str) -> str:
    """The crop's own path: the photo's, with its suffix in the name, so that no two collide."""
    return f"{path}.jpg"


def _run(jobs: list[Job], settings: CropSettings, workers: int) -> Iterator[Outcome]:
    work = partial(cut, settings=settings)
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned: a fork of a process whose libraries run threads may hang.
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_use_one_thread
    ) as processes:
        try:
            yield from processes.map(work, jobs, chunksize=CHUNK)
        finally:
            processes.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """As many processes as cores: threads of their own would only be in each other's way.

    Read by libraries that no spawned process has imported yet.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENCV_FOR_THREADS_NUM"] = "1"


def _read_notes(out: Path) -> dict[str, Outcome]:
    """What earlier runs cut and still lies there, by the photo's path.

    Photos that failed are tried again: somebody may have mended them. A line that a killed run left
    half written is left out.
    """
    try:
        lines = (out / NOTES).read_text(encoding="utf-8").splitlines()
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
        # The break comes first: it also ends a line that a killed run left half written.
        file.write("\n" + json.dumps(asdict(outcome), ensure_ascii=False))


def _tabulate(table: pd.DataFrame, outcomes: list[Outcome]) -> pd.DataFrame:
    kept = [outcome.error is None for outcome in outcomes]
    cropped = [outcome for outcome in outcomes if outcome.error is None]
    manifest = table.loc[kept].reset_index(drop=True)
    manifest["path"] = [name_crop(outcome.path) for outcome in cropped]
    manifest[BOX] = pd.DataFrame([outcome.face for outcome in cropped], columns=BOX)
    for column in ("pixels", "score", "faces", "width", "height"):
        manifest[column] = [getattr(outcome, column) for outcome in cropped]
    return manifest
