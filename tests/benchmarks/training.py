"""How fast data is prepared and networks are trained: ``python -m tests.benchmarks.training``.

Everything compared is timed in the same run on the same machine, in turns. The ratios hold on a
busy machine too; the figures per second are that machine's.
"""

import argparse
import io
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from facenet_pytorch import MTCNN
from PIL import Image, ImageOps

from kfer.faces import CropSpec
from tests.benchmarks.report import print_header, print_table
from tests.benchmarks.scenes import build_scenes, load_faces
from tests.training.synthetic import FER7, FERPLUS8
from training.augment import augment, mix
from training.config import TrainConfig
from training.crop import CropSettings, crop_photos
from training.distributed import Draws
from training.face_set import FaceSet, Labels
from training.loop import Run
from training.losses import build_balance, build_targets
from training.network import MEAN, STD
from training.recipe import load_recipe
from training.sources.aihub import AIHUB7, TSV_COLUMNS
from training.sources.fer2013 import CROP

ROOT = Path(__file__).parents[2]
ROWS, PERSONS = 500_000, 585
BATCHES = 12  # timed; as many pictures as an epoch of the loop benchmark has
PHOTOS = 24  # of 12 megapixels
CROP_SIDE = 96


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    print_header({"repeats": str(options.repeats)})
    if options.only in (None, "loop"):
        bench_loop(options.recipe, options.repeats, options.device)
    if options.only in (None, "crop"):
        bench_crop(options.repeats)
    if options.only in (None, "manifest"):
        bench_manifest(options.rows, options.repeats)
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.training")
    parser.add_argument("--only", choices=("loop", "crop", "manifest"))
    parser.add_argument("--repeats", type=int, default=3, help="timed runs each (default 3)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of the loop")
    parser.add_argument("--recipe", default="kfer-default", help="of the loop")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of the manifest ({ROWS:,})")
    options = parser.parse_args(arguments)
    if options.repeats < 1 or options.rows < 10_000:
        parser.error("--repeats must be at least 1, --rows at least 10000")
    return options


def bench_loop(recipe: str, repeats: int, device: str) -> None:
    """The pictures' way to the network, the network on one batch, and an epoch of both."""
    config = replace(
        load_recipe(recipe), distillation=0.0, epochs=2, warmup_epochs=1, early_epochs=0,
        plain_epochs=0,
    )  # fmt: skip
    n = BATCHES * config.batch_size
    chosen = torch.device(device)
    run = Run(config, n, chosen)
    faces = build_noise(n)
    pixels = torch.from_numpy(faces.pixels)[:, None].to(chosen)
    targets, balance = build_targets(config, faces), build_balance(config, faces)
    batch = [target[: config.batch_size].to(chosen) for target in targets]
    images = (prepare(pixels, batch, config) - MEAN) / STD
    rates: dict[str, list[float]] = {"pictures alone": [], "network alone": [], "both": []}
    for _ in range(repeats + 1):  # the first warms up
        for name, work in (
            ("pictures alone", lambda: [prepare(pixels, batch, config) for _ in range(BATCHES)]),
            (
                "network alone",
                lambda: [run._step(images, batch, balance.weights) for _ in range(BATCHES)],
            ),
            ("both", lambda: run.train_epoch(pixels, targets, balance, 0)),
        ):
            rates[name].append(n / measure(work, chosen))
    medians = {name: statistics.median(each[1:]) for name, each in rates.items()}
    slower = min(medians["pictures alone"], medians["network alone"])
    rows = [[name, f"{rate:,.0f}", f"{rate / slower:.2f}"] for name, rate in medians.items()]
    print_table(
        f"The loop on {device}: {recipe}, batches of {config.batch_size} (goal: both 0.90)",
        ["", "pictures a second", "of the slower"],
        rows,
    )


def prepare(pixels: torch.Tensor, targets: list[torch.Tensor], config: TrainConfig) -> torch.Tensor:
    draws = Draws(torch.Generator().manual_seed(0))
    shown = augment(pixels[: config.batch_size].float().div_(255), config, draws)
    return mix(shown, targets, config, draws)[0]


def build_noise(n: int) -> FaceSet:
    rng = np.random.default_rng(0)
    labels = {}
    for taxonomy in (FER7, FERPLUS8):
        truths = rng.integers(len(taxonomy.labels), size=n)
        targets = np.eye(len(taxonomy.labels), dtype=np.float32)[truths]
        labels[taxonomy.name] = Labels(targets, truths)
    pixels = rng.integers(0, 256, (n, 48, 48), dtype=np.uint8)
    return FaceSet([""] * n, [""] * n, pixels, labels, np.zeros(n, dtype=bool), CROP, "noise")


def measure(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def bench_crop(repeats: int) -> None:
    """Crops of photos of 12 megapixels, against a plain loop of the same detector."""
    pictures = load_faces([ROOT / "kfer" / "examples", ROOT / "tests" / "data"])
    scenes = [scene for scene in build_scenes(pictures, 20261121) if scene.megapixels == "12"]
    settings = CropSettings("mtcnn", CropSpec(0.1, CROP_SIDE, grey=False, align=False))
    workers = multiprocessing.cpu_count()
    times: dict[str, list[float]] = {"plain loop": [], f"crop, {workers} processes": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [f"{number}.jpg" for number in range(PHOTOS)]
        for number, path in enumerate(paths):
            (folder / path).write_bytes(scenes[number % len(scenes)].jpeg)
        table = pd.DataFrame({"path": paths, "label": "중립"})
        detector = MTCNN(keep_all=True)
        for turn in range(repeats):
            started = time.perf_counter()
            for path in paths:
                cut_plainly(folder / path, detector)
            times["plain loop"].append(time.perf_counter() - started)
            started = time.perf_counter()
            out = folder / f"crops {turn}"
            crops = crop_photos(table, folder, out, settings, workers, lambda _: None)
            times[f"crop, {workers} processes"].append(time.perf_counter() - started)
    rates = {name: PHOTOS / statistics.median(each) for name, each in times.items()}
    plain = rates["plain loop"]
    print_table(
        f"Crops of {PHOTOS} photos of 12 megapixels, {len(crops)} with a face (goal: 3 times)",
        ["", "photos a second", "times as fast"],
        [[name, f"{rate:.2f}", f"{rate / plain:.1f}"] for name, rate in rates.items()],
    )


def cut_plainly(path: Path, detector: MTCNN) -> bytes:
    """As tutorials do it: the whole photo, the detector, the largest box, a resized crop."""
    with Image.open(path) as image:
        photo = ImageOps.exif_transpose(image).convert("RGB")
    boxes, _ = detector.detect(photo)
    file = io.BytesIO()
    if boxes is not None:
        left, top, right, bottom = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        crop = photo.crop((int(left), int(top), int(right), int(bottom)))
        crop.resize((CROP_SIDE, CROP_SIDE)).save(file, "JPEG", quality=95)
    return file.getvalue()


def bench_manifest(rows: int, repeats: int) -> None:
    """A TSV parsed, its votes counted and its persons split, against pandas reading the file."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "emotions.tsv"
        write_tsv(path, rows)
        megabytes = path.stat().st_size / 1e6
        # In turns, so that whatever else the machine does meets both.
        runs = [[time_and_weigh(path, what) for what in ("pandas", "ours")] for _ in range(repeats)]
    results = {}
    titles = ("pandas.read_csv", "parse, vote, split")
    for title, each in zip(titles, zip(*runs, strict=True), strict=True):
        seconds, gigabytes = zip(*each, strict=True)
        results[title] = (min(seconds), max(gigabytes))
    plain = results["pandas.read_csv"][0]
    print_table(
        f"{rows:,} rows, {megabytes:,.0f} MB (goal: 3 times, below 2 GB)",
        ["", "seconds", "times", "memory, GB"],
        [
            [what, f"{seconds:.1f}", f"{seconds / plain:.1f}", f"{gigabytes:.2f}"]
            for what, (seconds, gigabytes) in results.items()
        ],
    )


def time_and_weigh(path: Path, what: str) -> tuple[float, float]:
    """Seconds, and the process's largest size in GB."""
    command = [sys.executable, "-m", "tests.benchmarks.manifest", str(path), what]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    seconds, gigabytes = map(float, done.stdout.split())
    return seconds, gigabytes


def write_tsv(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    persons = ["".join(each) for each in rng.choice(list("0123456789abcdef"), (PERSONS, 64))]
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(TSV_COLUMNS) + "\n")
        for row in range(rows):
            label = AIHUB7.labels[row % 7]
            other = AIHUB7.labels[(row * 31) % 7]
            name = f"{persons[row % PERSONS]}_여_20_{label}_실내_{row}.jpg"
            left = 200 + row % 50
            box = {"minX": left + 0.5, "minY": 300.25, "maxX": left + 400.5, "maxY": 800.75}
            cell = '"' + json.dumps({"boxes": [box]}).replace('"', '""') + '"'
            columns = [name, f"https://example.org/{name}", label, label, other]
            file.write("\t".join([*columns, *["실내"] * 3, *[cell] * 3]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
