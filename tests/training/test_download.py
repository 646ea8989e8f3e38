"""Downloading from a server that behaves as servers do: on a real one, on the loopback."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.file_server import FileServer, build_body, run_server
from training.download import DOWNLOAD_LOG, PARSE_LOG, Fetched, Summary, download, read_wanted
from training.errors import DataError
from training.sources.aihub import TSV_COLUMNS


@pytest.fixture
def server() -> Iterator[FileServer]:
    with run_server() as server:
        yield server


def write_tsv(path: Path, server: FileServer, names: list[str]) -> Path:
    rows = [
        [name, f"{server.url}/사진/{name}", *["기쁨"] * 3, *["실내"] * 3, *["{}"] * 3]
        for name in names
    ]
    lines = ["\t".join(row) for row in [TSV_COLUMNS, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fetch(source: Path, out: Path) -> tuple[Summary, list[Fetched]]:
    reported: list[Fetched] = []
    wanted, refused = read_wanted(source)
    return download(source, wanted, refused, out, 4, reported.append), reported


def list_files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in (DOWNLOAD_LOG, PARSE_LOG)
    }


def read_failed(out: Path) -> dict[str, dict[str, str]]:
    with (out / DOWNLOAD_LOG).open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import download as module  # noqa: PLC0415

    monkeypatch.setattr(module, "RETRIES", module.RETRIES.new(backoff_factor=0, total=3))


def test_files_come_whole_below_the_emotion_of_their_name(
    server: FileServer, tmp_path: Path
) -> None:
    names = [f"abc_{i}_기쁨_{i}.jpg" for i in range(20)] + ["moved_슬픔.jpg", "무엇.jpg"]
    summary, reported = fetch(write_tsv(tmp_path / "라벨.tsv", server, names), tmp_path / "사진")
    assert summary == Summary(fetched=22)
    assert len(reported) == 22
    files = list_files(tmp_path / "사진")
    assert files.pop("슬픔/moved_슬픔.jpg") == build_body("target.jpg")
    assert files.pop("UNKNOWN/무엇.jpg") == build_body("무엇.jpg")
    assert files == {f"기쁨/{name}": build_body(name) for name in names[:20]}
    assert not (tmp_path / "사진" / DOWNLOAD_LOG).exists()


def test_passing_faults_are_tried_again_and_lasting_ones_listed(
    server: FileServer, tmp_path: Path
) -> None:
    names = [
        f"{fault}_기쁨.jpg"
        for fault in ("busy", "reset", "short", "missing", "broken", "empty", "page", "bomb")
    ]
    out = tmp_path / "out"
    summary, _ = fetch(write_tsv(tmp_path / "a.tsv", server, names), out)
    assert summary == Summary(fetched=3, failed=5)
    assert list_files(out) == {f"기쁨/{name}": build_body(name) for name in names[:3]}
    assert server.asked["missing_기쁨.jpg"] == 1
    assert server.asked["broken_기쁨.jpg"] == 4
    failed = read_failed(out)
    assert sorted(failed) == sorted(names[3:])
    assert failed["missing_기쁨.jpg"]["error"] == "HTTP 404 Not Found"
    assert failed["empty_기쁨.jpg"]["error"] == "is empty"
    assert failed["page_기쁨.jpg"]["error"] == "is no picture (text/html)"
    assert failed["bomb_기쁨.jpg"]["error"] == "is larger than 64 MB"
    assert failed["missing_기쁨.jpg"]["TaskA_emotion"] == "기쁨"


def test_the_log_of_what_failed_can_be_fed_back(server: FileServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetch(
        write_tsv(
            tmp_path / "a.tsv", server, ["1_기쁨.jpg", "missing_기쁨.jpg", "broken_슬픔.jpg"]
        ),
        out,
    )
    log = (out / DOWNLOAD_LOG).read_text(encoding="utf-8")
    healed = log.replace("/broken_슬픔.jpg", "/healed_슬픔.jpg")
    (out / DOWNLOAD_LOG).write_text(healed, encoding="utf-8")
    summary, _ = fetch(out / DOWNLOAD_LOG, out)
    assert summary == Summary(fetched=1, failed=1)
    assert list_files(out)["슬픔/broken_슬픔.jpg"] == build_body("healed_슬픔.jpg")
    assert "broken" not in (out / DOWNLOAD_LOG).read_text(encoding="utf-8")
    (out / DOWNLOAD_LOG).write_text(healed.replace("/missing_", "/found_"), encoding="utf-8")
    assert fetch(out / DOWNLOAD_LOG, out)[0] == Summary(fetched=1, present=1)
    assert not (out / DOWNLOAD_LOG).exists()


def test_what_is_there_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    names = [f"{i}_기쁨.jpg" for i in range(5)]
    source, out = write_tsv(tmp_path / "a.tsv", server, names), tmp_path / "out"
    fetch(source, out)
    (out / "기쁨" / names[2]).unlink()
    assert fetch(source, out)[0] == Summary(fetched=1, present=4)
    assert server.asked == Counter({name: 2 if name == names[2] else 1 for name in names})


def test_malformed_rows_are_listed_by_line_and_the_rest_goes_on(
    server: FileServer, tmp_path: Path
) -> None:
    source, out = (
        write_tsv(tmp_path / "a.tsv", server, ["1_기쁨.jpg", "2_기쁨.jpg"]),
        tmp_path / "out",
    )
    with source.open("a", encoding="utf-8") as file:
        file.write("3.jpg\thttp://127.0.0.1/3.jpg\n")
        file.write("\t".join(["4.jpg", "file:///etc/passwd", *["기쁨"] * 9]) + "\n")
        file.write("\t".join(["../5.jpg", f"{server.url}/5.jpg", *["기쁨"] * 9]) + "\n")
        file.write("\t".join(["1_기쁨.jpg", f"{server.url}/6.jpg", *["기쁨"] * 9]) + "\n")
    assert fetch(source, out)[0] == Summary(fetched=2, malformed=4)
    assert (out / PARSE_LOG).read_text(encoding="utf-8").splitlines() == [
        "../a.tsv:4: has 2 columns instead of 11",
        "../a.tsv:5: url 'file:///etc/passwd' does not begin with http:// or https://",
        "../a.tsv:6: name '../5.jpg' is no file name",
        "../a.tsv:7: 1_기쁨.jpg was named before",
    ]
    assert not (tmp_path / "5.jpg").exists()


def test_several_files_are_fetched_at_a_time(server: FileServer, tmp_path: Path) -> None:
    server.delay = 0.05
    fetch(
        write_tsv(tmp_path / "a.tsv", server, [f"{i}_기쁨.jpg" for i in range(24)]),
        tmp_path / "out",
    )
    assert server.most_busy == 4


def test_what_failed_of_another_file_stays_listed_until_it_is_there(
    server: FileServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = write_tsv(tmp_path / "a.tsv", server, ["missing_1_기쁨.jpg", "missing_2_슬픔.jpg"])
    fetch(first, out)
    url = f"{server.url}/사진"
    second = tmp_path / "b.tsv"  # with a header of its own
    second.write_text(
        f"url\tname\tyear\n{url}/missing_3.jpg\t3_분노.jpg\t2021\n"
        f"{url}/found.jpg\tmissing_1_기쁨.jpg\t2021\n",
        encoding="utf-8",
    )
    assert fetch(second, out)[0] == Summary(fetched=1, failed=1)
    failed = read_failed(out)
    assert sorted(failed) == ["3_분노.jpg", "missing_2_슬픔.jpg"]
    assert failed["missing_2_슬픔.jpg"]["TaskA_emotion"] == "기쁨"
    assert failed["3_분노.jpg"]["year"] == "2021"
    (out / "분노").mkdir()
    (out / "분노" / "3_분노.jpg").write_bytes(b"brought by hand")
    assert fetch(write_tsv(tmp_path / "c.tsv", server, ["4_기쁨.jpg"]), out)[0].failed == 0
    assert sorted(read_failed(out)) == ["missing_2_슬픔.jpg"]
    log = out / DOWNLOAD_LOG
    log.write_text(log.read_text("utf-8").replace("/missing_2", "/found_2"), encoding="utf-8")
    assert fetch(log, out)[0] == Summary(fetched=1)
    assert not log.exists()


def test_malformed_rows_stay_listed_until_their_own_file_is_mended(
    server: FileServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, second = tmp_path / "1" / "labels.tsv", tmp_path / "2" / "labels.tsv"
    for source in (first, second):
        source.parent.mkdir()
        write_tsv(source, server, [f"{source.parent.name}_기쁨.jpg"])
        with source.open("a", encoding="utf-8") as file:
            file.write("cut\tshort\n")
        fetch(source, out)
    lines = [f"../{number}/labels.tsv:3: has 2 columns instead of 11" for number in (1, 2)]
    assert (out / PARSE_LOG).read_text(encoding="utf-8").splitlines() == lines
    fetch(first, out)
    assert sorted((out / PARSE_LOG).read_text(encoding="utf-8").splitlines()) == lines
    for source, left in ((first, lines[1:]), (second, [])):
        write_tsv(source, server, [f"{source.parent.name}_기쁨.jpg"])
        fetch(source, out)
        log = out / PARSE_LOG
        assert (log.read_text(encoding="utf-8").splitlines() if log.exists() else []) == left


def test_a_damaged_log_of_what_failed_is_not_written_over(
    server: FileServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fetch(write_tsv(tmp_path / "a.tsv", server, ["missing_기쁨.jpg", "missing_슬픔.jpg"]), out)
    log = out / DOWNLOAD_LOG
    damaged = log.read_text(encoding="utf-8").replace("http", "htp", 1)
    log.write_text(damaged, encoding="utf-8")
    other = write_tsv(tmp_path / "b.tsv", server, ["1_기쁨.jpg"])
    for source in (other, log):
        with pytest.raises(DataError, match=r"--out .*log:2: url 'htp.*; mend or delete that line"):
            fetch(source, out)
    assert log.read_text(encoding="utf-8") == damaged


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_and_ends_as_an_uninterrupted_one(
    sent: signal.Signals, server: FileServer, tmp_path: Path
) -> None:
    names = [f"{i}_기쁨.jpg" for i in range(150)] + ["missing_기쁨.jpg"]
    source, out = write_tsv(tmp_path / "a.tsv", server, names), tmp_path / "out"
    server.delay = 0.02
    command = [sys.executable, "-m", "training", "download", "--input", source, "--out", out]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    while len(server.asked) < 40:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, sent)
    process.communicate(timeout=60)
    before = list_files(out)
    assert 0 < len(before) < 151
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1  # one is missing
    there = sum(name.endswith(".jpg") for name in before)
    assert (
        f"{150 - there} fetched, {there} there before, 1 failed, 0 malformed rows" in again.stdout
    )
    assert list_files(out) == {f"기쁨/{name}": build_body(name) for name in names[:150]}
    assert str(out / DOWNLOAD_LOG) in again.stderr
