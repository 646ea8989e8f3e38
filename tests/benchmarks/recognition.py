"""How fast faces are read, and what the speed costs: ``python -m tests.benchmarks.recognition``.

Everything compared is timed in the same run on the same machine, in turns. The ratios hold on a
busy machine too; the milliseconds are that machine's.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image

from kfer.bundle import load_bundle
from kfer.classifier import Classifier
from kfer.errors import KferError
from kfer.faces import Face, MtcnnDetector, crop_whole
from kfer.hub import locate_model
from kfer.photos import load_photo
from kfer.pipeline import analyze
from tests.benchmarks.report import print_header, print_table
from tests.benchmarks.scenes import Scene, build_scenes, load_faces
from tests.benchmarks.startup import bench_startup

ROOT = Path(__file__).parents[2]
SEED = 20261121
GOALS = {"2": 3.0, "12": 10.0}  # megapixels -> times as fast as the straightforward composition
MIN_IOU = 0.5
MUST_PX, MUST_SHARE = 40, 0.02  # no face may be lost whose longer side is at least both
CLASSIFIER_ROUNDS = 15

Boxes = NDArray[np.float64]  # (faces, 4): left, top, right, bottom in pixels of the photo


@dataclass(frozen=True)
class PhotoResult:
    """One photo read both ways."""

    scene: Scene
    found: tuple[int, int]  # by the straightforward composition, by ours
    seconds: tuple[float, float]
    lost: int
    lost_small: int
    gained: int

    @property
    def ratio(self) -> float:
        return self.seconds[0] / self.seconds[1]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        source = locate_model(options.model)
        classifier = Classifier(load_bundle(source.folder, source.name, source.revision))
    except KferError as error:
        print(error, file=sys.stderr)
        return 2
    pictures = load_faces(options.faces)
    if not pictures:
        print(f"There is no square picture in {options.faces}; see --faces.", file=sys.stderr)
        return 2
    print_header(ROOT, {"model": classifier.bundle.identity, "repeats": str(options.repeats)})
    if options.only in (None, "photos"):
        report_photos(bench_photos(pictures, classifier, options.repeats))
    if options.only in (None, "classifier"):
        report_classifier(pictures, classifier)
    if options.only in (None, "startup"):
        bench_startup(ROOT, pictures[0], options.model, options.repeats)
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recognition")
    parser.add_argument("--only", choices=("photos", "classifier", "startup"))
    parser.add_argument("--repeats", type=int, default=3, help="timed runs each (default 3)")
    parser.add_argument("--model", help="folder or hf-hub:owner/name (default: the bundled one)")
    parser.add_argument(
        "--faces",
        type=Path,
        default=ROOT / "kfer" / "examples",
        help="folder of square pictures of one face each (default: the app's examples)",
    )
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def bench_photos(
    pictures: Sequence[Image.Image], classifier: Classifier, repeats: int
) -> list[PhotoResult]:
    detector, plain = MtcnnDetector(), MTCNN(keep_all=True)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        for scene in build_scenes(pictures, SEED):
            path.write_bytes(scene.jpeg)

            def straightforward(path: Path = path) -> Boxes:
                return read_straightforward(path, plain, classifier)

            def ours(path: Path = path) -> Boxes:
                return read_ours(path, detector, classifier)

            base, own = straightforward(), ours()  # also warms both up at this size
            seconds = time_in_turns([straightforward, ours], repeats)
            lost, lost_small, gained = compare(base, own, scene.long_side)
            found = (len(base), len(own))
            results.append(
                PhotoResult(scene, found, (seconds[0], seconds[1]), lost, lost_small, gained)
            )
    return results


def read_straightforward(path: Path, mtcnn: MTCNN, classifier: Classifier) -> Boxes:
    """What one writes first: detect on the full photo, crop, one forward pass per face."""
    image = Image.open(path).convert("RGB")
    boxes, _ = mtcnn.detect(image)
    if boxes is None:
        return np.zeros((0, 4))
    for box in boxes:
        classifier.predict([crop_whole(image.crop(box.tolist()), classifier.bundle.crop)])
    return np.asarray(boxes, dtype=np.float64)


def read_ours(path: Path, detector: MtcnnDetector, classifier: Classifier) -> Boxes:
    analysis = analyze(load_photo(path), classifier, detector)
    faces = [] if analysis.whole else [reading.face for reading in analysis.readings]
    return np.array([_corners(face) for face in faces]).reshape(-1, 4)


def _corners(face: Face) -> tuple[float, float, float, float]:
    x, y, w, h = face.box
    return x, y, x + w, y + h


def time_in_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each call; all take turns, so that a busy machine slows them alike."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def compare(base: Boxes, own: Boxes, long_side: int) -> tuple[int, int, int]:
    """Faces lost that must be found, other faces lost, faces gained."""
    pairs = match(base, own)
    lost = np.setdiff1d(np.arange(len(base)), [pair[0] for pair in pairs])
    sides = (base[lost, 2:] - base[lost, :2]).max(axis=1, initial=0)
    must = int((sides >= max(MUST_PX, MUST_SHARE * long_side)).sum())
    return must, len(lost) - must, len(own) - len(pairs)


def match(base: Boxes, own: Boxes) -> list[tuple[int, int]]:
    """Pairs of boxes that overlap by MIN_IOU, best first, each box once."""
    if not len(base) or not len(own):
        return []
    overlap = compute_iou(base, own)
    pairs = []
    while overlap.max() >= MIN_IOU:
        row, column = divmod(int(overlap.argmax()), len(own))
        pairs.append((row, column))
        overlap[row, :] = overlap[:, column] = 0
    return pairs


def compute_iou(base: Boxes, own: Boxes) -> NDArray[np.float64]:
    """(base, own) intersection over union."""
    low = np.maximum(base[:, None, :2], own[None, :, :2])
    high = np.minimum(base[:, None, 2:], own[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (base, own)]
    iou: NDArray[np.float64] = shared / (areas[0][:, None] + areas[1][None] - shared)
    return iou


def report_photos(results: Sequence[PhotoResult]) -> None:
    must = f">={MUST_PX} px and >={MUST_SHARE:.0%}"
    rows = [
        (
            result.scene.megapixels,
            result.scene.name,
            str(result.scene.faces),
            *map(str, result.found),
            *(f"{seconds * 1000:.0f}" for seconds in result.seconds),
            f"{result.ratio:.1f}x",
            f">={goal:.0f}x" if (goal := GOALS.get(result.scene.megapixels)) else "",
            str(result.lost),
            str(result.lost_small),
            str(result.gained),
        )
        for result in results
    ]
    columns = ("MP", "photo", "shown", "found: plain", "ours", "ms: plain", "ours", "ratio")
    losses = ("goal", f"lost {must}", "lost smaller", "gained")
    print_table(
        "Photo file to readings, against the straightforward composition", columns + losses, rows
    )
    for megapixels, goal in GOALS.items():
        worst = min(result.ratio for result in results if result.scene.megapixels == megapixels)
        print(f"slowest ratio at {megapixels} MP: {worst:.1f}x, goal >= {goal:.0f}x")
    lost = sum(result.lost for result in results)
    print(f"faces lost of {must} of the long side: {lost}, goal 0\n")


def report_classifier(pictures: Sequence[Image.Image], classifier: Classifier) -> None:
    """One thread: a server runs one visitor's faces on each of its cores."""
    bundle = classifier.bundle
    crops = [crop_whole(pictures[i % len(pictures)], bundle.crop) for i in range(16)]
    networks = {
        "ours, forward pass": (
            timm.create_model(f"local-dir:{bundle.folder}", pretrained=True).float(),
            tuple(bundle.pretrained_cfg["input_size"]),
        ),
        "EfficientNet-B0, forward pass": (timm.create_model("efficientnet_b0"), (3, 224, 224)),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = {}
    try:
        for batch in (1, 16):
            calls = [build_pass(network, (batch, *size)) for network, size in networks.values()]
            calls.append(lambda batch=batch: classifier.predict(crops[:batch]))
            time_in_turns(calls, 2)
            seconds = time_in_turns(calls, CLASSIFIER_ROUNDS)
            times[batch] = [second * 1000 / batch for second in seconds]
    finally:
        torch.set_num_threads(threads)
    names = [*networks, "ours, crop to probabilities"]
    sizes = ["x".join(map(str, size)) for _, size in networks.values()]
    counts = [count_parameters(network) for network, _ in networks.values()]
    rows = [
        (name, sizes[i % 2], f"{counts[i % 2]:.1f}", f"{times[1][i]:.1f}", f"{times[16][i]:.1f}")
        for i, name in enumerate(names)
    ]
    ratios = [f"{times[batch][1] / times[batch][0]:.1f}x" for batch in (1, 16)]
    rows.append(("EfficientNet-B0 / ours, forward pass", "", "", *ratios))
    columns = ("model", "input", "M parameters", "ms per face: batch 1", "batch 16")
    print_table("Classifier alone, one thread, median", columns, rows)


def build_pass(network: torch.nn.Module, shape: tuple[int, ...]) -> Callable[[], object]:
    network = network.eval().to(memory_format=torch.channels_last)
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    return run


def count_parameters(network: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
