"""A PostgreSQL server of the tests' own, on a free loopback port, as long as the block lasts."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.processes import find_port

DEBIAN = Path("/usr/lib/postgresql")


def find_programs() -> Path | None:
    """The folder of initdb and pg_ctl: Debian keeps them off the PATH."""
    for folder in sorted(DEBIAN.glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def run_postgres(programs: Path) -> Iterator[str]:
    """The URL of its ``postgres`` database. As root it runs as user postgres: initdb insists."""
    user = "postgres" if os.geteuid() == 0 else None
    port = find_port()
    with tempfile.TemporaryDirectory(prefix="kfer-postgres-") as temporary:
        folder = Path(temporary)
        if user:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = str(folder / "data")

        def call(command: Sequence[str]) -> None:
            subprocess.run(
                command, cwd=folder, user=user, check=True, capture_output=True, timeout=120
            )

        call([str(programs / "initdb"), "-D", data, "-U", "kfer", "-A", "trust", "--no-sync"])
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        control = [str(programs / "pg_ctl"), "-D", data, "-l", str(folder / "log"), "-w"]
        call([*control, "-o", options, "start"])
        try:
            yield f"postgresql://kfer@127.0.0.1:{port}/postgres"
        finally:
            call([*control, "-m", "immediate", "stop"])
