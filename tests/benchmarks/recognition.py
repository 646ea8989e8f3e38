"""How fast faces are read, and what the speed costs: ``python -m tests.benchmarks.recognition``.

Everything compared is timed in the same run on the same machine, in turns. The ratios hold on a
busy machine too; the milliseconds are that machine's.
"""

import argparse
import functools
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
from PIL import Image

from kfer.bundle import load_bundle
from kfer.classifier import Classifier
from kfer.errors import KferError
from kfer.faces import Face, MtcnnDetector, crop_whole
from kfer.hub import locate_model
from kfer.photos import load_photo
from kfer.pipeline import analyze
from tests.benchmarks.boxes import MUST_PX, MUST_SHARE, Boxes, Comparison, compare
from tests.benchmarks.report import print_header, print_table
from tests.benchmarks.scenes import Scene, build_scenes, load_faces
from tests.benchmarks.startup import bench_startup

ROOT = Path(__file__).parents[2]
SEED = 20261121
GOALS = {"2": 3.0, "12": 10.0}  # megapixels -> times as fast as the straightforward composition
CLASSIFIER_ROUNDS = 15
BATCHES = (1, 16)


@dataclass(frozen=True)
class PhotoResult:
    """One photo read both ways."""

    scene: Scene
    faces: Comparison
    seconds: tuple[float, float]  # plain, ours

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
        print("The folders hold no square picture of a face; see --faces.", file=sys.stderr)
        return 2
    print_header({"model": classifier.bundle.identity, "repeats": str(options.repeats)})
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
        nargs="+",
        default=[ROOT / "kfer" / "examples", ROOT / "tests" / "data"],
        metavar="FOLDER",
        help="folders of square pictures of one face each (default: the app's and the tests')",
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

            # Untimed: it warms both up at this size.
            shown = np.array(scene.shown)
            faces = compare(straightforward(), ours(), shown, scene.long_side)
            plain_seconds, own_seconds = time_in_turns([straightforward, ours], repeats)
            # The quickest: what else the machine does only ever adds.
            results.append(PhotoResult(scene, faces, (min(plain_seconds), min(own_seconds))))
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


def time_in_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each call; all take turns, so that a busy machine slows them alike."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return seconds


def report_photos(results: Sequence[PhotoResult]) -> None:
    must = f">= {MUST_PX} px and >= {MUST_SHARE:.0%}"
    rows = [
        (
            result.scene.megapixels,
            result.scene.name,
            str(len(result.scene.shown)),
            "{} / {}".format(*result.faces.found),
            "{} / {}".format(*result.faces.false_alarms),
            str(result.faces.lost),
            str(result.faces.lost_small),
            str(result.faces.gained),
            "{:.0f} / {:.0f}".format(*(second * 1000 for second in result.seconds)),
            f"{result.ratio:.1f}x",
            f">= {GOALS[result.scene.megapixels]:.0f}x" if result.scene.megapixels in GOALS else "",
        )
        for result in results
    ]
    faces = ("faces", "found", "false alarms", f"lost {must}", "lost smaller", "gained")
    columns = ("MP", "photo", *faces, "ms", "times as fast", "goal")
    title = "Photo file to readings: the straightforward composition / ours"
    print_table(title, columns, rows)
    for megapixels, goal in GOALS.items():
        worst = min(result.ratio for result in results if result.scene.megapixels == megapixels)
        print(f"least at {megapixels} MP: {worst:.1f}x, goal >= {goal:.0f}x")
    lost = sum(result.faces.lost for result in results)
    print(f"faces lost of {must} of the long side: {lost}, goal 0\n")


def report_classifier(pictures: Sequence[Image.Image], classifier: Classifier) -> None:
    """One thread: a server reads several visitors' faces at a time."""
    bundle = classifier.bundle
    crops = [crop_whole(pictures[i % len(pictures)], bundle.crop) for i in range(BATCHES[-1])]
    own = timm.create_model(f"local-dir:{bundle.folder}", pretrained=True).float()
    other = timm.create_model("efficientnet_b0")
    own_size, other_size = tuple(bundle.pretrained_cfg["input_size"]), (3, 224, 224)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []  # per batch size, ms per face of the three
    for batch in BATCHES:
        calls = (
            build_pass(own, (batch, *own_size)),
            build_pass(other, (batch, *other_size)),
            functools.partial(classifier.predict, crops[:batch]),
        )
        time_in_turns(calls, 2)
        seconds = time_in_turns(calls, CLASSIFIER_ROUNDS)
        times.append([statistics.median(taken) * 1000 / batch for taken in seconds])
    torch.set_num_threads(threads)
    names = ("ours, forward pass", "EfficientNet-B0, forward pass", "ours, crop to probabilities")
    descriptions = (describe(own, own_size), describe(other, other_size), describe(own, own_size))
    rows = [
        (name, *description, *(f"{per_batch[i]:.1f}" for per_batch in times))
        for i, (name, description) in enumerate(zip(names, descriptions, strict=True))
    ]
    ratios = [f"{other_time / own_time:.1f}x" for own_time, other_time, _ in times]
    rows.append(("ours is faster, forward pass", "", "", *ratios))
    columns = ("one thread, median", "input", "M parameters")
    print_table(
        "Classifier alone, ms per face",
        (*columns, *(f"batch {batch}" for batch in BATCHES)),
        rows,
    )


def describe(network: torch.nn.Module, size: Sequence[int]) -> tuple[str, str]:
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return "x".join(map(str, size)), f"{parameters:.1f}"


def build_pass(network: torch.nn.Module, shape: tuple[int, ...]) -> Callable[[], object]:
    network = network.eval().to(memory_format=torch.channels_last)
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    return run


if __name__ == "__main__":
    sys.exit(main())
