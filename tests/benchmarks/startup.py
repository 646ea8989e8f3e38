"""Start-up: what `--help` pays, and how long the app takes to its first answer."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from PIL import Image

from tests.benchmarks.report import print_table
from tests.processes import NotUpError, find_port, run_process, wait_until

HEAVY = ("torch", "timm", "gradio", "facenet_pytorch", "cv2", "sqlalchemy")
WAIT_SECONDS = 120
POLL_SECONDS = 0.02

# The least that answers the same question, everything loaded at once.
BARE_APP = """
import sys

import gradio as gr
import timm
import torch
from facenet_pytorch import MTCNN
from timm.data import create_transform

mtcnn = MTCNN(keep_all=True)
network = timm.create_model("resnet18", num_classes=8).eval()
transform = create_transform(224)


def read(photo):
    boxes, _ = mtcnn.detect(photo)
    faces = [photo.crop(box.tolist()) for box in boxes] if boxes is not None else [photo]
    with torch.inference_mode():
        return [network(transform(face)[None]).softmax(1)[0].tolist() for face in faces]


app = gr.Interface(read, gr.Image(type="pil"), gr.JSON(), api_name="analyze")
app.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]))
"""


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process to the page, and to the first answer."""

    page: float
    answer: float


def bench_startup(root: Path, picture: Image.Image, model: str | None, repeats: int) -> None:
    help_seconds, heavy = measure_help(root, repeats)
    print_table(
        "Command line",
        ("command", "seconds", "heavy imports"),
        [("python -m kfer --help", f"{help_seconds:.2f}", ", ".join(heavy) or "none")],
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photo = folder / "photo.jpg"
        picture.save(photo, "JPEG", quality=90)
        (folder / "bare.py").write_text(BARE_APP, encoding="utf-8")
        bare, app, first = [], [], []
        for turn in range(repeats):
            bare.append(start_app([str(folder / "bare.py")], folder, {}, photo))
            environment = {"KFER_DATA_DIR": str(folder / f"data-{turn}")}
            if model:
                environment["KFER_MODEL"] = model
            # A fresh data folder first: its database is made and the demo study imported.
            first.append(start_app(["app.py"], root, environment, photo))
            app.append(start_app(["app.py"], root, environment, photo))
    starts = {"bare Gradio + torch app": bare, "KFER, new data folder": first, "KFER": app}
    report_starts(starts)


def measure_help(root: Path, repeats: int) -> tuple[float, list[str]]:
    """Median seconds, and which heavy libraries were imported."""
    command = [sys.executable, "-m", "kfer", "--help"]
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, cwd=root, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    traced = [sys.executable, "-X", "importtime", *command[1:]]
    log = subprocess.run(traced, cwd=root, capture_output=True, text=True, check=True).stderr
    imported = set(re.findall(r"\|\s+(\w+)\s*$", log, re.MULTILINE))
    return statistics.median(seconds), [name for name in HEAVY if name in imported]


def start_app(
    script: Sequence[str], folder: Path, environment: dict[str, str], photo: Path
) -> Start:
    """Raises NotUpError, with what the app printed, when it does not come up."""
    port = find_port()
    url = f"http://127.0.0.1:{port}/"
    variables = {
        **os.environ,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        **environment,
    }
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        with run_process([sys.executable, *script, str(port)], folder, variables, log) as process:
            try:
                wait_until(url, process, WAIT_SECONDS, POLL_SECONDS)
            except NotUpError as error:
                log.seek(0)
                tail = log.read().decode(errors="replace")[-2000:]
                raise NotUpError(f"{error}:\n{tail}") from None
            page = time.perf_counter() - start
            client = Client(url, verbose=False, analytics_enabled=False, download_files=False)
            with closing(client):
                client.predict(handle_file(photo), api_name="/analyze")
            return Start(page, time.perf_counter() - start)


def report_starts(starts: dict[str, list[Start]]) -> None:
    medians = {
        name: (
            statistics.median(start.page for start in taken),
            statistics.median(start.answer for start in taken),
        )
        for name, taken in starts.items()
    }
    base = medians["bare Gradio + torch app"][1]
    rows = [
        (name, f"{page:.1f}", f"{answer:.1f}", f"{answer / base:.2f}")
        for name, (page, answer) in medians.items()
    ]
    columns = ("app", "seconds to the page", "to the first answer", "times the bare app")
    print_table("Start of the app, median", columns, rows)
