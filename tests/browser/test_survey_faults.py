"""The database locked, the disk full, the server killed: said in words, and nothing lost or twice.

Every fault is a real one, on an app of its own whose folder is a small disk.
"""

import contextlib
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.survey_steps import (
    expect_screen,
    get_code,
    go_to_practice,
    list_answers,
    open_tab,
    press_primary,
    wait_until_ready,
)
from tests.processes import find_port, keep_environment, run_process, wait_until
from tests.servers import ROOT, AppServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DISK = "64m"
PIECE = bytes(1024)
FULL = re.compile(r"database or disk is full|disk I/O error")  # on a small disk; without one


class Machine:
    """An app that can be killed and started again at the same address and on the same data."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{find_port()}"
        self.folder = folder
        self._running = contextlib.ExitStack()
        self._server: AppServer | None = None

    @property
    def server(self) -> AppServer:
        assert self._server is not None
        return self._server

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.server.process

    @property
    def database(self) -> Path:
        return self.folder / "data" / "kfer.sqlite"

    def start(self) -> None:
        names = {"KFER_DATA_DIR": "data", "TMPDIR": "tmp", "HOME": "home", "GRADIO_TEMP_DIR": "tmp"}
        places = {name: self.folder / place for name, place in names.items()}
        for place in places.values():
            place.mkdir(exist_ok=True)
        env = {
            **keep_environment(),
            **{name: str(place) for name, place in places.items()},
            "HOST": "127.0.0.1",
            "PORT": self.url.rpartition(":")[2],
            "OMP_NUM_THREADS": "1",
        }
        log = self._running.enter_context((self.folder / "app.log").open("ab"))
        command = [sys.executable, "app.py"]
        process = self._running.enter_context(run_process(command, ROOT, env, log))
        self._server = AppServer(self.url, self.folder, process)
        wait_until(self.url, process)
        # The model's answers are written after the start; a fault then is another matter.
        while process.poll() is None and not self.has_frozen():
            time.sleep(0.2)

    def has_frozen(self) -> bool:
        return self.count_rows("frozen_prediction") >= self.count_rows("image")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self._running.close()

    @contextlib.contextmanager
    def lock_database(self) -> Iterator[None]:
        """Somebody else writes, for longer than the app waits."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    @contextlib.contextmanager
    def fill_disk(self) -> Iterator[None]:
        """No byte more can be written: the disk is full, or the app may not let a file grow."""
        with contextlib.closing(sqlite3.connect(self.database)) as other:
            # The log is emptied: otherwise there is room in it that it could use again.
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        if self.server.folder.is_mount():
            filler = self.server.folder / "filler"
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(PIECE):
                    pass
            empty: Callable[[], object] = filler.unlink
        else:
            empty = self._limit_files(1)
        try:
            yield
        finally:
            empty()

    def _limit_files(self, size: int) -> Callable[[], object]:
        """How large a file the app may write; what comes back lifts that again."""
        limit = partial(resource.prlimit, self.process.pid, resource.RLIMIT_FSIZE)
        before = limit()
        limit((size, before[1]))
        return partial(limit, before)

    def count_rows(self, table: str) -> int:
        with contextlib.closing(sqlite3.connect(self.database)) as other:
            assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            count: int = other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            return count


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that can be filled up; where none may be mounted, an ordinary one."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def machine(small_disk: Path) -> Iterator[Machine]:
    machine = Machine(small_disk)
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()


def get_error(page: Page) -> Locator:
    return page.locator(".kfer-survey .kfer-error")


def retry(page: Page) -> None:
    get_error(page).locator("button").click()


def test_a_locked_database_is_said_and_waited_out(
    open_page: Callable[..., Page], machine: Machine
) -> None:
    page = open_page(machine.server)
    before = machine.count_rows("participation")
    open_tab(page)
    page.locator(".kfer-agree input").check()
    press_primary(page)
    with machine.lock_database():
        press_primary(page)
        expect(page.locator("[aria-busy]")).to_have_count(1)  # a sign of life meanwhile
        expect(get_error(page)).to_contain_text("잃어버린 것은 없으니 잠시 뒤 다시 해 주세요")
    assert machine.count_rows("participation") == before
    retry_start = page.locator(".kfer-survey .kfer-buttons .kfer-primary")
    retry_start.click()
    expect_screen(page, "instructions")
    assert machine.count_rows("participation") == before + 1
    press_primary(page)
    press_primary(page)
    wait_until_ready(page)
    with machine.lock_database():
        page.keyboard.press("2")
        expect(page.locator("[data-option=당황][aria-busy]")).to_have_count(1)
        expect(get_error(page)).to_contain_text("답을 저장하지 못했어요")
        with page.expect_response("**/survey/api/answer") as answered:
            retry(page)
        assert answered.value.status == 503
        expect(get_error(page)).to_contain_text("답을 저장하지 못했어요")
    assert list_answers(machine.server, get_code(page)) == []
    retry(page)
    expect(page.locator(".kfer-feedback")).to_be_visible()
    assert [label for label, *_ in list_answers(machine.server, get_code(page))] == ["당황"]


def test_a_full_disk_is_said_and_waited_out(
    open_page: Callable[..., Page], machine: Machine
) -> None:
    page = open_page(machine.server, locale="en-US")
    go_to_practice(page)
    before = machine.count_rows("response")
    with machine.fill_disk():
        page.keyboard.press("3")
        expect(get_error(page)).to_contain_text("nothing is lost: try again")
        expect(get_error(page)).to_contain_text(FULL)
        with page.expect_response("**/survey/api/answer") as answered:
            retry(page)
        assert answered.value.status == 503
        expect(get_error(page)).to_contain_text("nothing is lost: try again")
    assert machine.count_rows("response") == before
    retry(page)
    expect(page.locator(".kfer-feedback")).to_be_visible()
    page.keyboard.press("Enter")
    wait_until_ready(page)
    answers = list_answers(machine.server, get_code(page))
    assert [(label, revisions) for label, *_, revisions in answers] == [("분노", 0)]


def test_a_killed_server_comes_back_and_the_study_goes_on(
    open_page: Callable[..., Page], machine: Machine
) -> None:
    page = open_page(machine.server)
    go_to_practice(page)
    with machine.lock_database():  # so that the server is killed with the answer in its hands
        page.keyboard.press("1")
        expect(page.locator("[data-option=기쁨][aria-busy]")).to_have_count(1)
        machine.kill()
        expect(get_error(page)).to_contain_text("서버에 연결하지 못했어요")
    with page.expect_event("requestfailed"):
        retry(page)
    expect(get_error(page)).to_contain_text("답은 이 화면에 그대로 있으니")
    machine.start()
    assert list_answers(machine.server, get_code(page)) == []
    retry(page)
    expect(page.locator(".kfer-feedback")).to_be_visible()
    page.keyboard.press("Enter")
    wait_until_ready(page)
    page.keyboard.press("4")
    expect(page.locator(".kfer-feedback")).to_be_visible()
    answers = list_answers(machine.server, get_code(page))
    assert [(label, revisions) for label, *_, revisions in answers] == [("기쁨", 0), ("슬픔", 0)]


def test_a_reply_that_is_lost_doubles_no_answer(
    open_page: Callable[..., Page], machine: Machine
) -> None:
    page = open_page(machine.server)
    lost = [True]

    def lose_reply(route: Route) -> None:
        route.fetch()  # the server has it
        if lost.pop():
            route.abort()

    page.route(
        "**/survey/api/answer", lambda route: lose_reply(route) if lost else route.continue_()
    )
    go_to_practice(page)
    page.keyboard.press("5")
    expect(get_error(page)).to_contain_text("서버에 연결하지 못했어요")
    assert len(list_answers(machine.server, get_code(page))) == 1
    retry(page)
    expect(page.locator(".kfer-feedback")).to_be_visible()
    answers = list_answers(machine.server, get_code(page))
    assert [(label, revisions) for label, *_, revisions in answers] == [("중립", 0)]
