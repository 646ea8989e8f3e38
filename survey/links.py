"""Signed links to survey images: each names one trial of one person and lives two minutes."""

import contextlib
import secrets
from pathlib import Path

from itsdangerous import BadData, URLSafeTimedSerializer

LIFETIME_SECONDS = 120
PREFIX = "survey/image"
_SECRET_FILE = "secret"


class Signer:
    """Makes and reads the links of one app. Thread-safe."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeTimedSerializer(secret, salt="kfer survey image")

    def build_link(self, trial_id: str) -> str:
        """Relative to the app's origin."""
        return f"{PREFIX}/{self._serializer.dumps(trial_id)}"

    def find_trial_id(self, token: str) -> str | None:
        """None when it is forged or its time is over."""
        try:
            trial_id = self._serializer.loads(token, max_age=LIFETIME_SECONDS)
        except BadData:
            return None
        return trial_id if isinstance(trial_id, str) else None


def load_secret(data_dir: Path) -> str:
    """The one in the data folder, made on first use; processes that start at once agree on one."""
    path = data_dir / _SECRET_FILE
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_suffix(f".{secrets.token_hex(8)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(32), encoding="ascii")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)  # whole or not at all, and never over another's
        fresh.unlink()
    return path.read_text(encoding="ascii")
