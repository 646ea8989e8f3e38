"""A bundle -> the Hugging Face Hub, and back: what comes down must answer as what went up."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from PIL import Image

from kfer.bundle import CARD, WEIGHTS, Bundle, hash_file, load_bundle
from kfer.classifier import Classifier
from kfer.hub import HUB_PREFIX
from kfer.recognizer import locate_bundle
from training.card import DATA_TITLE
from training.errors import ConfigError, DataError, TrainingError
from training.export import FILES, check_target
from training.network import is_own_architecture

PROBE_SECONDS = 10.0
TOLERANCE = 1e-6  # of every logit, between the folder and what the Hub gives back
_LOADED, _TITLE = re.compile('"local-dir:[^"]*"'), re.compile("^# .*$", re.MULTILINE)
_LICENSE = re.compile(r"^license: .*$", re.MULTILINE)
# What the Hub knows of; "other" needs a text of one's own on the card.
LICENSES = (
    "mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "other",
)  # fmt: skip
_HUBS_OWN = ".gitattributes"  # says what the Hub stores apart; its client never deletes it
_HUB_ERRORS = (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError)
_UNSTATED = "state them here before\nthe model is published."


@dataclass(frozen=True)
class Publication:
    """A folder that is ready to go up, and where to."""

    folder: Path
    repository: str
    license: str
    private: bool

    def describe(self) -> str:
        """What would happen, in lines."""
        lines = [
            f"{path.name:20} {path.stat().st_size:>12,} bytes"
            for path in sorted(self.folder.iterdir())
        ]
        visible = "private" if self.private else "public"
        return "\n".join(
            [f"{HUB_PREFIX}{self.repository} ({visible}, licence {self.license})", *lines]
        )


def prepare(
    bundle: Bundle, folder: Path, repository: str, license: str, terms: str | None, private: bool
) -> Publication:
    """A fresh copy of the bundle in ``folder``, its card with the licence and the data's terms.

    Raises ConfigError for a licence or a name that the Hub does not know, or a folder that holds
    anything but a bundle; DataError for a bundle whose card is missing, of other weights, or
    silent on the terms of its data, or whose network nobody else could load.
    """
    if license not in LICENSES:
        raise ConfigError(f"--license {license}: unknown; choose one of {', '.join(LICENSES)}.")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise ConfigError(f"--repo {repository}: must be OWNER/NAME, as on the Hub.")
    if is_own_architecture(bundle):
        raise DataError(
            f"--bundle {bundle.name}: its network is built in this checkout; whoever fetched it "
            "from the Hub could load it neither by timm nor in the app. Publish a student of it "
            "with one of timm's architectures (train --teacher)."
        )
    _check_folder(folder, bundle)
    card = _check_card(bundle)
    if _UNSTATED in card:
        if not terms:
            raise DataError(
                f"{bundle.folder / CARD}: does not say on what terms its data may be used; add "
                "--data-terms TEXT."
            )
        card = card.replace(_UNSTATED, terms.strip())
    elif terms:
        card = _add_terms(card, terms.strip())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in FILES:
        if (bundle.folder / name).exists():
            shutil.copyfile(bundle.folder / name, folder / name)
    card = _LICENSE.sub(f"license: {license}", card, count=1)
    card = _LOADED.sub(f'"hf-hub:{repository}"', card)
    card = _TITLE.sub(f"# {repository.partition('/')[2]}", card, count=1)
    (folder / CARD).write_text(card, encoding="utf-8")
    return Publication(folder, repository, license, private)


def _add_terms(card: str, terms: str) -> str:
    """A paragraph more at the end of what the card says of its data."""
    before, title, after = card.partition(DATA_TITLE)
    section, following, rest = after.partition("\n## ")
    return f"{before}{title}{section.rstrip()}\n\n{terms}\n{following}{rest}"


def find_surplus(publication: Publication) -> list[str]:
    """Files that the repository has and the folder has not: publishing removes them.

    Raises ConfigError where it is public or private against the flag, TrainingError when the Hub
    cannot be asked.
    """
    try:
        info = HfApi().model_info(publication.repository, timeout=PROBE_SECONDS)
    except RepositoryNotFoundError:
        return []
    except _HUB_ERRORS as error:
        raise TrainingError(
            f"--repo {publication.repository}: the Hub cannot be asked what is there ({error}). "
            "Check the connection, and start the same command again."
        ) from error
    _check_visibility(publication, info)
    kept = {_HUBS_OWN, *(path.name for path in publication.folder.iterdir())}
    return sorted({file.rfilename for file in info.siblings or ()} - kept)


def push(publication: Publication) -> str:
    """Make the repository exactly the folder, in one commit; returns its id.

    Raises ConfigError where it is public or private against the flag, TrainingError when the Hub
    does not take it.
    """
    api = HfApi()
    try:
        api.create_repo(publication.repository, private=publication.private, exist_ok=True)
        info = api.model_info(publication.repository, timeout=PROBE_SECONDS)
        _check_visibility(publication, info)
        commit = api.upload_folder(
            repo_id=publication.repository,
            folder_path=publication.folder,
            delete_patterns="*",
            commit_message=f"KFER bundle {hash_file(publication.folder / WEIGHTS)[:12]}",
        )
    except _HUB_ERRORS as error:
        raise TrainingError(
            f"--repo {publication.repository}: the Hub did not take it ({error}). Log in by "
            "`hf auth login`, or set HF_TOKEN, and start the same command again."
        ) from error
    return str(commit.oid)


def compare(publication: Publication, commit: str) -> float:
    """The largest difference of any logit between the folder and what the Hub gives back.

    Raises TrainingError where it is above TOLERANCE, HubError where nothing comes back.
    """
    ours = load_bundle(publication.folder)
    theirs = locate_bundle(f"{HUB_PREFIX}{publication.repository}@{commit}")
    rng = np.random.default_rng(0)
    side = ours.crop.size
    shape = (8, side, side) if ours.crop.grey else (8, side, side, 3)
    crops = [Image.fromarray(each) for each in rng.integers(0, 256, shape, dtype=np.uint8)]
    answers = [Classifier(bundle).compute_logits(crops).numpy() for bundle in (ours, theirs)]
    difference = float(np.abs(answers[0] - answers[1]).max())
    if difference > TOLERANCE:
        raise TrainingError(
            f"--repo {publication.repository}: what comes back differs by {difference:g} in a "
            f"logit; at most {TOLERANCE:g} is allowed. The upload is not to be trusted."
        )
    return difference


def _check_visibility(publication: Publication, info: ModelInfo) -> None:
    if publication.private and not info.private:
        raise ConfigError(
            f"--private: {publication.repository} is there already, and public; make it private in "
            "its settings on the Hub, name another --repo, or leave out --private."
        )
    if info.private and not publication.private:
        raise ConfigError(
            f"--repo {publication.repository}: is there already, and private; add --private, or "
            "make it public in its settings on the Hub."
        )


def _check_folder(folder: Path, bundle: Bundle) -> None:
    """Only an earlier copy of this very bundle may be replaced."""
    check_target(folder, "--out")
    if folder.resolve() == bundle.folder.resolve():
        raise ConfigError(f"--out {folder}: is the bundle itself; name another folder.")
    if (folder / WEIGHTS).exists() and hash_file(folder / WEIGHTS) != hash_file(
        bundle.folder / WEIGHTS
    ):
        raise ConfigError(f"--out {folder}: holds another bundle; name another folder.")


def _check_card(bundle: Bundle) -> str:
    path = bundle.folder / CARD
    if not path.exists():
        raise DataError(f"{path}: is missing; run `training evaluate` first, which writes it.")
    card = path.read_text(encoding="utf-8")
    if hash_file(bundle.folder / WEIGHTS) not in card:
        raise DataError(f"{path}: is the card of other weights; run `training evaluate` again.")
    if not _LICENSE.search(card):
        raise DataError(f"{path}: has no licence field; run `training evaluate` again.")
    return card
