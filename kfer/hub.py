"""Where a model comes from: the bundled folder, a local folder, or a Hub id at one fixed revision.

Whatever the reference, the answer is a folder on this machine and, for a Hub model, the full commit
that the folder holds, so that every prediction can say which weights made it. Only a bundle's own
files are fetched. A commit never changes: once it is complete in the cache, it needs no network.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kfer.bundle import CARD, CONFIG, EXPLANATION, PICKLES, WEIGHTS
from kfer.errors import BundleError, HubError

BUNDLED = Path(__file__).resolve().parent.parent / "models" / "kfer-default"
HUB_PREFIX = "hf-hub:"

_NEEDED = (CONFIG, WEIGHTS)
_WANTED = (*_NEEDED, CARD, EXPLANATION)

_PROBE_SECONDS = 10.0
_TRY_LATER = frozenset({408, 429})
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY_PART = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w.+/-]{0,254}")
# A token pasted into a reference must not come back in a message: visitors of the page read it.
_SECRET = re.compile(r"hf_[A-Za-z0-9]{8,}|(?<=//)[^/@\s]+(?=@)")

_ELSE = "give a local folder, or leave out --model (KFER_MODEL) to use the bundled model"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSource:
    """A model folder, and which model it is."""

    folder: Path
    name: str
    revision: str | None


@dataclass(frozen=True)
class _HubReference:
    repository: str
    revision: str


class _UnreachableError(HubError):
    """The Hub did not answer as it should: a cached copy may stand in."""

    def __init__(self, model: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{model} cannot be brought from the Hugging Face Hub: {reason}. "
            f"Next: check the connection and try again, {_ELSE}."
        )


def locate_model(reference: str | None, cache_dir: Path | None = None) -> ModelSource:
    """Find the folder that a model reference means, fetching it from the Hub where needed.

    ``reference`` is nothing (the bundled model), ``hf-hub:owner/name[@revision]``, or a folder.
    ``cache_dir`` is the Hub cache; left out, the Hub client's own (``HF_HUB_CACHE``).

    Raises:
        BundleError: there is no such folder, or it holds no config.json.
        HubError: the Hub reference is malformed, or the Hub cannot give that model.
    """
    if not reference:
        return _locate_bundled()
    if reference.startswith(HUB_PREFIX):
        return _locate_on_hub(_parse_hub_reference(reference), cache_dir)
    return _locate_folder(reference)


def _locate_bundled() -> ModelSource:
    if not (BUNDLED / CONFIG).is_file():
        raise BundleError(
            f"The bundled model is missing: there is no models/{BUNDLED.name}/{CONFIG}. "
            f"Next: install KFER again with its models folder, or name another model."
        )
    return ModelSource(folder=BUNDLED, name=BUNDLED.name, revision=None)


def _locate_folder(reference: str) -> ModelSource:
    shown = _show(reference)
    allowed = (
        f"Allowed: a folder with {CONFIG} and {WEIGHTS}, or {HUB_PREFIX}owner/name[@revision]."
    )
    advice = f"{allowed} Next: check the path, or leave out --model (KFER_MODEL)."
    try:
        folder = Path(reference).resolve()
        exists, is_folder = folder.exists(), folder.is_dir()
        has_config = (folder / CONFIG).is_file()
    except (OSError, ValueError, RuntimeError) as error:
        # Too long a name, no permission, a NUL character, a loop of links.
        raise BundleError(f"The model folder {shown} cannot be read. {advice}") from error
    if not exists:
        raise BundleError(f"There is no model folder {shown}. {advice}")
    if not is_folder:
        raise BundleError(f"{shown} is a file, not a model folder. {advice}")
    if not has_config:
        raise BundleError(f"The folder {shown} is no model bundle: it has no {CONFIG}. {advice}")
    return ModelSource(folder=folder, name=folder.name, revision=None)


def _parse_hub_reference(reference: str) -> _HubReference:
    repository, at, revision = reference.removeprefix(HUB_PREFIX).partition("@")
    flaw = _find_repository_flaw(repository) or (_find_revision_flaw(revision) if at else None)
    if flaw is not None:
        raise HubError(
            f"The model reference {_show(reference)} is malformed: {flaw}. "
            f"Allowed: {HUB_PREFIX}owner/name or {HUB_PREFIX}owner/name@revision, where revision "
            f"is a branch, a tag or a commit. Next: correct it, {_ELSE}."
        )
    return _HubReference(repository, revision or "main")


def _find_repository_flaw(repository: str) -> str | None:
    parts = repository.split("/")
    if any(character.isspace() for character in repository):
        return "there is a blank in it"
    if len(parts) == 1:
        return "the owner is missing"
    if len(parts) > 2:
        return "there is more than one '/' in the id"
    if not all(_REPOSITORY_PART.fullmatch(part) for part in parts):
        return "owner and name are 1 to 96 letters, digits, '-', '_' or '.', not at an end"
    # The cache names its folders models--owner--name, so '--' would make two ids one.
    if ".." in repository or "--" in repository or repository.endswith(".git"):
        return "an id has no '..' or '--' and does not end in '.git'"
    return None


def _find_revision_flaw(revision: str) -> str | None:
    if not revision:
        return "there is nothing after '@'"
    # The cache stores a revision as a path: it must not lead out of the cache.
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        return "the revision is not a branch, tag or commit name"
    return "the revision ends in '/'" if revision.endswith("/") else None


def _locate_on_hub(wanted: _HubReference, cache_dir: Path | None) -> ModelSource:
    folder = None
    if _COMMIT.fullmatch(wanted.revision):
        folder = _find_cached(wanted, cache_dir, _WANTED)
    if folder is None:
        try:
            folder = _fetch_snapshot(wanted, cache_dir)
        except _UnreachableError as unreachable:
            # Without the others a cached model still reads faces.
            folder = _find_cached(wanted, cache_dir, _NEEDED)
            if folder is None:
                raise
            _log.warning(
                "The Hub cannot be asked for %s (%s): the cached copy is used, commit %s.",
                wanted.repository,
                unreachable.reason,
                folder.name,
            )
    return ModelSource(folder=folder, name=wanted.repository, revision=folder.name)


def _find_cached(
    wanted: _HubReference, cache_dir: Path | None, files: tuple[str, ...]
) -> Path | None:
    """The cached snapshot, if the cache holds all of ``files`` that its commit has."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - --help must not pay for it

    try:
        folder = Path(
            snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                cache_dir=cache_dir,
                allow_patterns=list(files),
                local_files_only=True,
            )
        )
        whole = all((folder / name).is_file() for name in _NEEDED)
    except OSError:
        return None
    # A damaged branch entry in the cache can lead to a folder that is no commit's.
    return folder if whole and _COMMIT.fullmatch(folder.name) else None


def _fetch_snapshot(wanted: _HubReference, cache_dir: Path | None) -> Path:
    """Ask the Hub what the revision holds, refuse what is no bundle, then bring the files.

    Raises:
        HubError: every failure, in words of ours: the client's own may quote signed addresses.
    """
    import httpx2  # noqa: PLC0415 - as heavy as the client, whose errors these are
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - --help must not pay

    try:
        # snapshot_download asks the same, but waits for an answer without limit.
        info = HfApi().model_info(
            wanted.repository, revision=wanted.revision, timeout=_PROBE_SECONDS
        )
        _check_file_names(wanted, [sibling.rfilename for sibling in info.siblings or ()])
        folder = Path(
            snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                cache_dir=cache_dir,
                allow_patterns=list(_WANTED),
            )
        )
        # The branch may have moved between the two questions.
        _check_file_names(wanted, [path.name for path in folder.iterdir()])
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        OSError,
        RuntimeError,  # hf_xet, the native downloader
        ValueError,  # the last three: an answer that is not the Hub's JSON
        KeyError,
        TypeError,
    ) as error:
        raise _explain(error, wanted) from error
    return folder


def _check_file_names(wanted: _HubReference, names: Iterable[str]) -> None:
    found = sorted(names)
    missing = [name for name in _NEEDED if name not in found]
    if not missing:
        return
    where = f"{wanted.repository!r} at {_show(wanted.revision)}"
    pickles = [name for name in found if name.endswith(PICKLES)]
    if missing == [WEIGHTS] and pickles:
        raise HubError(
            f"The Hub repository {where} has its weights only as a pickle ({_list(pickles)}), "
            f"which is refused: loading a pickle can run any program hidden in it. Allowed: "
            f"{WEIGHTS}. Next: ask its author for {WEIGHTS}, choose another model, {_ELSE}."
        )
    raise HubError(
        f"The Hub repository {where} is no model bundle: it has no {' and no '.join(missing)}. "
        f"Got: {_list(found) or 'no files'}. Next: check the id and the revision, {_ELSE}."
    )


def _explain(error: Exception, wanted: _HubReference) -> HubError:
    """One clear message per kind of failure; never the client's text, only its kind and number."""
    from huggingface_hub import errors  # noqa: PLC0415 - --help must not pay for it

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    model = f"{HUB_PREFIX}{wanted.repository}"
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"The Hub repository {wanted.repository!r} is gated: its owner must let you in. Next: "
            f"ask for access on its page and log in with 'hf auth login', {_ELSE}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"There is no Hub repository {wanted.repository!r}, or it is private and you have no "
            f"access to it. Next: check the id, log in with 'hf auth login', {_ELSE}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(
            f"The Hub repository {wanted.repository!r} has no revision {_show(wanted.revision)}. "
            f"Allowed: one of its branches, tags or commits. Next: correct what stands after '@', "
            f"or leave it out to use the branch main."
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error.response.status_code, model)
    if isinstance(error, OSError) and error.errno is not None:
        return HubError(
            f"{model} cannot be stored in the Hub cache ({error.strerror}). Next: make room or set "
            f"HF_HUB_CACHE to a folder that can be written, {_ELSE}."
        )
    return _UnreachableError(model, _name_breakdown(error))


def _explain_status(status: int, model: str) -> HubError:
    if status in (401, 403):
        return HubError(
            f"The Hub refuses access to {model} (HTTP {status}). Next: log in with 'hf auth login' "
            f"using a token that may read it, {_ELSE}."
        )
    if status in _TRY_LATER or status >= 500:
        return _UnreachableError(model, f"it answered HTTP {status}")
    return HubError(
        f"{model} cannot be brought from the Hub: it answered HTTP {status}. "
        f"Next: try again later, {_ELSE}."
    )


def _name_breakdown(error: Exception) -> str:
    import httpx2  # noqa: PLC0415 - loaded by now: the error came through it
    from huggingface_hub.errors import OfflineModeIsEnabled  # noqa: PLC0415 - as above

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE=1 forbids asking it"
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx2.ConnectError):
        return "no connection"
    if isinstance(error, (httpx2.HTTPError, OSError, RuntimeError)):
        return f"the transfer broke off ({type(error).__name__})"
    return "what answered is not the Hub, perhaps a proxy or a login page"


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _show(text: str) -> str:
    """What was given, for a message: quoted, without secrets, not endless."""
    clean = _SECRET.sub("***", text)
    return repr(clean if len(clean) <= 200 else f"{clean[:200]}...")
