"""kfer.hub against folders on disk and against a real server that speaks the Hub's protocol."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kfer import hub
from kfer.errors import BundleError, HubError
from kfer.hub import ModelSource, locate_model
from tests.kfer.hub_server import Fault, HubServer, Repository, Snapshot, client_of, serve_hub

ROOT = Path(__file__).resolve().parents[2]
MODEL = "minji/faces"
OLD, NEW, PICKLE = "a" * 40, "b" * 40, "c" * 40
TOKEN = "hf_" + "SecretForTests" * 2

OLD_FILES = {
    "config.json": b'{"architecture": "resnet18", "year": 1}',
    "model.safetensors": bytes(range(256)) * 40,
    "README.md": b"# Faces, first\n",
    "pytorch_model.bin": b"\x80\x04pickle",
    "logs/events.txt": b"epoch 1\n",
}
NEW_FILES = {**OLD_FILES, "config.json": b'{"year": 2}', "model.safetensors": b"\x01\x02" * 5000}
BUNDLE_FILES = ["README.md", "config.json", "model.safetensors"]
OLD_BUNDLE = {name: OLD_FILES[name] for name in BUNDLE_FILES}
NEW_BUNDLE = {name: NEW_FILES[name] for name in BUNDLE_FILES}


def make_repositories() -> dict[str, Repository]:
    bundle = {"main": Snapshot(OLD, OLD_FILES)}
    without = {name: data for name, data in OLD_FILES.items() if name != "model.safetensors"}
    return {
        MODEL: Repository({**bundle, "v1": Snapshot(OLD, OLD_FILES)}),
        "minji/gated": Repository(dict(bundle), gated=True, token=TOKEN),
        "minji/private": Repository(dict(bundle), private=True, token=TOKEN),
        "minji/pickle": Repository({"main": Snapshot(PICKLE, without)}),
        "minji/cards": Repository({"main": Snapshot(PICKLE, {"README.md": b"# No model\n"})}),
        "minji/weightless": Repository({"main": Snapshot(PICKLE, {"config.json": b"{}"})}),
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serve_hub(make_repositories()) as running, client_of(running, monkeypatch, tmp_path):
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub cache"


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_folder(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"{}")
    return folder


@pytest.mark.parametrize("reference", [None, ""])
def test_no_reference_means_the_bundled_model(
    reference: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert hub.BUNDLED == ROOT / "models" / "kfer-default"
    folder = make_folder(tmp_path / "kfer-default", "config.json")
    monkeypatch.setattr(hub, "BUNDLED", folder)
    assert locate_model(reference) == ModelSource(folder, "kfer-default", None)


def test_a_missing_bundled_model_says_that_the_installation_is_incomplete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "BUNDLED", tmp_path / "kfer-default")
    with pytest.raises(
        BundleError, match=r"no models/kfer-default/config\.json\. Next: install KFER again"
    ):
        locate_model(None)


def test_a_local_folder_is_named_after_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "내 모델", "config.json", "model.safetensors")
    expected = ModelSource(folder.resolve(), "내 모델", None)
    assert locate_model(str(folder)) == expected
    monkeypatch.chdir(folder)
    assert locate_model(".") == expected


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere", r"no model folder 'nowhere'\. Allowed: a folder with config\.json"),
        ("minji/faces", r"or hf-hub:owner/name\[@revision\]\. Next: check the path"),
        ("empty", r"'empty' is no model bundle: it has no config\.json"),
        ("full/config.json", r"'full/config\.json' is a file, not a model folder"),
        ("x" * 5000, r"folder 'x{200}\.\.\.' cannot be read"),
        ("a\0b", r"cannot be read"),
        (f"https://{TOKEN}@host/a", r"no model folder 'https://\*\*\*@host/a'"),
    ],
)
def test_a_wrong_folder_is_refused(
    reference: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_folder(tmp_path / "empty")
    make_folder(tmp_path / "full", "config.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=message):
        locate_model(reference)


@pytest.mark.parametrize(
    ("reference", "flaw"),
    [
        ("hf-hub:", "the owner is missing"),
        ("hf-hub:foo", "the owner is missing"),
        ("hf-hub:a/b/c", "more than one '/'"),
        ("hf-hub:https://huggingface.co/a/b", "more than one '/'"),
        ("hf-hub: a/b", "a blank"),
        ("hf-hub:a/my model", "a blank"),
        ("hf-hub:a/b\n", "a blank"),
        ("hf-hub:../b", "letters, digits"),
        ("hf-hub:a/..", "letters, digits"),
        ("hf-hub:/b", "letters, digits"),
        ("hf-hub:a/얼굴", "letters, digits"),
        ("hf-hub:a/b..c", r"no '\.\.'"),
        ("hf-hub:a/b--c", "or '--'"),
        ("hf-hub:a/b.git", r"end in '\.git'"),
        (f"hf-hub:a/{'b' * 97}", "1 to 96 letters"),
        ("hf-hub:a/b@", "nothing after '@'"),
        ("hf-hub:a/b@../../c", "not a branch, tag or commit name"),
        ("hf-hub:a/b@x/../../c", "not a branch, tag or commit name"),
        ("hf-hub:a/b@/etc", "not a branch, tag or commit name"),
        ("hf-hub:a/b@v 1", "not a branch, tag or commit name"),
        ("hf-hub:a/b@c@d", "not a branch, tag or commit name"),
        ("hf-hub:a/b@x/", "revision ends in '/'"),
        (f"hf-hub:user:{TOKEN}@a/b/c", r"'hf-hub:user:\*\*\*@a/b/c' is malformed"),
    ],
)
def test_a_malformed_reference_is_refused_before_anything_is_asked(
    reference: str, flaw: str, server: HubServer, cache: Path
) -> None:
    with pytest.raises(HubError, match=flaw) as refused:
        locate_model(reference, cache)
    assert "Allowed: hf-hub:owner/name or hf-hub:owner/name@revision" in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert server.requests == []
    assert not cache.exists()


@pytest.mark.parametrize("revision", ["", "@main", "@v1", f"@{OLD}"])
def test_a_model_is_fetched_at_a_branch_a_tag_or_a_commit(
    revision: str, server: HubServer, cache: Path
) -> None:
    source = locate_model(f"hf-hub:{MODEL}{revision}", cache)
    assert (source.name, source.revision, source.folder.name) == (MODEL, OLD, OLD)
    assert cache in source.folder.parents
    assert read_files(source.folder) == OLD_BUNDLE
    assert server.fetched_files() == BUNDLE_FILES
    # Nor did the pickle come by another road.
    stored = sorted(path.read_bytes() for path in cache.glob("**/blobs/*"))
    assert stored == sorted(OLD_BUNDLE.values())


@pytest.mark.parametrize("revision", ["", "@v1", f"@{OLD}"])
def test_a_cached_model_needs_no_hub(revision: str, server: HubServer, cache: Path) -> None:
    first = locate_model(f"hf-hub:{MODEL}{revision}", cache)
    server.stop()
    assert locate_model(f"hf-hub:{MODEL}{revision}", cache) == first
    assert read_files(first.folder) == OLD_BUNDLE


def test_a_cached_model_stands_in_while_the_hub_is_down_even_without_its_card(
    server: HubServer, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = locate_model(f"hf-hub:{MODEL}", cache)
    (first.folder / "README.md").unlink()
    server.faults["main"] = [Fault.UNAVAILABLE]
    assert locate_model(f"hf-hub:{MODEL}", cache) == first
    assert f"(it answered HTTP 503): the cached copy is used, commit {OLD}." in caplog.text


def test_a_cached_commit_is_not_asked_for_again(server: HubServer, cache: Path) -> None:
    first = locate_model(f"hf-hub:{MODEL}@{OLD}", cache)
    server.requests.clear()
    assert locate_model(f"hf-hub:{MODEL}@{OLD}", cache) == first
    assert server.requests == []


def test_a_moved_branch_gives_the_new_commit_and_a_pinned_one_stays(
    server: HubServer, cache: Path
) -> None:
    assert locate_model(f"hf-hub:{MODEL}", cache).revision == OLD
    server.repositories[MODEL].revisions["main"] = Snapshot(NEW, NEW_FILES)

    moved = locate_model(f"hf-hub:{MODEL}@main", cache)
    assert (moved.revision, read_files(moved.folder)) == (NEW, NEW_BUNDLE)
    for pinned in ("v1", OLD):
        source = locate_model(f"hf-hub:{MODEL}@{pinned}", cache)
        assert (source.revision, read_files(source.folder)) == (OLD, OLD_BUNDLE)
    server.stop()
    assert locate_model(f"hf-hub:{MODEL}", cache) == moved


@pytest.mark.parametrize("revision", ["", "@v1", f"@{OLD}"])
def test_an_unreachable_hub_and_an_empty_cache_say_what_to_do(
    revision: str, server: HubServer, cache: Path
) -> None:
    server.stop()
    with pytest.raises(HubError) as refused:
        locate_model(f"hf-hub:{MODEL}{revision}", cache)
    assert str(refused.value) == (
        "hf-hub:minji/faces cannot be brought from the Hugging Face Hub: no connection. "
        "Next: check the connection and try again, give a local folder, or leave out --model "
        "(KFER_MODEL) to use the bundled model."
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("minji/nobody", "no Hub repository 'minji/nobody', or it is private"),
        ("minji/private", "no Hub repository 'minji/private', or it is private .* 'hf auth login'"),
        ("minji/gated", "'minji/gated' is gated: its owner must let you in"),
        (f"{MODEL}@v9", "'minji/faces' has no revision 'v9'. Allowed: one of its branches"),
        (f"{MODEL}@{NEW}", f"'minji/faces' has no revision '{NEW}'"),
        (f"{MODEL}@{TOKEN}", r"'minji/faces' has no revision '\*\*\*'"),
        ("minji/pickle", r"only as a pickle \(pytorch_model\.bin\), which is refused: loading"),
        ("minji/cards", r"no config\.json and no model\.safetensors\. Got: README\.md\. Next"),
        ("minji/weightless", r"it has no model\.safetensors\. Got: config\.json\. Next"),
    ],
)
def test_what_the_hub_cannot_give_has_its_own_message(
    reference: str,
    message: str,
    server: HubServer,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "SomebodyElsesTokenXy")
    with pytest.raises(HubError, match=message) as refused:
        locate_model(f"hf-hub:{reference}", cache)
    assert "hf_" not in str(refused.value)
    # Nothing is brought, not even of the repository whose weights are refused.
    assert server.fetched_files() == []
    assert list(cache.glob("**/snapshots/*/*")) == []


@pytest.mark.parametrize("name", ["gated", "private"])
def test_a_token_opens_what_is_closed(
    name: str, server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    source = locate_model(f"hf-hub:minji/{name}", cache)
    assert (source.revision, read_files(source.folder)) == (OLD, OLD_BUNDLE)
    assert {request.token for request in server.model_requests()} == {TOKEN}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.UNAVAILABLE, "Hugging Face Hub: it answered HTTP 503"),
        (Fault.FORBIDDEN, r"Hub refuses access to hf-hub:minji/faces \(HTTP 403\)"),
        (Fault.FOREIGN, "what answered is not the Hub, perhaps a proxy or a login page"),
        (Fault.SILENT, "Hugging Face Hub: no answer in time"),
    ],
)
def test_a_hub_that_answers_badly_is_named(
    fault: Fault,
    message: str,
    server: HubServer,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub, "_PROBE_SECONDS", 0.2)
    server.faults["main"] = [fault]
    with pytest.raises(HubError, match=message) as refused:
        locate_model(f"hf-hub:{MODEL}", cache)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault.SHORT], id="half a file"),
        # The client waits one second of its own, then asks for the rest.
        pytest.param([Fault.CUT, Fault.UNAVAILABLE], id="cut, then down"),
    ],
)
def test_an_interrupted_transfer_leaves_no_broken_model(
    faults: list[Fault], server: HubServer, cache: Path
) -> None:
    server.faults["model.safetensors"] = list(faults)
    with pytest.raises(HubError, match=r"transfer broke off|HTTP 503"):
        locate_model(f"hf-hub:{MODEL}", cache)
    assert server.faults["model.safetensors"] == []
    assert list(cache.glob("**/*.incomplete")) == []
    assert list(cache.glob("**/snapshots/*/model.safetensors")) == []

    # What did arrive does not stand in for a model while the Hub is away.
    server.faults["main"] = [Fault.UNAVAILABLE]
    with pytest.raises(HubError, match="HTTP 503"):
        locate_model(f"hf-hub:{MODEL}", cache)
    source = locate_model(f"hf-hub:{MODEL}", cache)
    assert (source.revision, read_files(source.folder)) == (OLD, OLD_BUNDLE)


@pytest.mark.parametrize(
    ("commit", "files"),
    [
        pytest.param(OLD, ["config.json"], id="another program brought only this file"),
        pytest.param("latest", ["config.json", "model.safetensors"], id="no commit"),
    ],
)
def test_a_damaged_cache_does_not_stand_in(
    commit: str, files: list[str], server: HubServer, cache: Path
) -> None:
    stored = cache / "models--minji--faces"
    make_folder(stored / "snapshots" / commit, *files)
    make_folder(stored / "refs")
    (stored / "refs" / "main").write_text(commit)
    server.stop()
    with pytest.raises(HubError, match="no connection"):
        locate_model(f"hf-hub:{MODEL}", cache)


def test_a_cut_transfer_goes_on_where_it_stopped(server: HubServer, cache: Path) -> None:
    server.faults["model.safetensors"] = [Fault.CUT]
    source = locate_model(f"hf-hub:{MODEL}", cache)
    assert read_files(source.folder) == OLD_BUNDLE
    assert server.fetched_files() == [*BUNDLE_FILES, "model.safetensors"]


@pytest.mark.usefixtures("server")
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(
        HubError, match=r"cannot be stored in the Hub cache \(.+\)\. Next: make room"
    ):
        locate_model(f"hf-hub:{MODEL}", tmp_path / "taken")


SCRIPT = """
import json, sys
from pathlib import Path
from kfer.errors import HubError
from kfer.hub import locate_model
heavy = ("huggingface_hub", "httpx2", "torch", "timm", "gradio")
report = {"at import": [name for name in heavy if name in sys.modules]}
try:
    report["revision"] = locate_model(sys.argv[1], Path(sys.argv[2])).revision
except HubError as error:
    report["error"] = str(error)
report["torch"] = "torch" in sys.modules
print(json.dumps(report))
"""


def run_script(reference: str, cache: Path, home: Path, **environment: str) -> dict[str, object]:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    kept |= {"HF_HOME": str(home), "PYTHONPATH": str(ROOT), **environment}
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, reference, str(cache)],
        env=kept,
        capture_output=True,
        check=True,
        text=True,
    )
    return dict(json.loads(finished.stdout))


def test_endpoint_and_offline_mode_are_taken_from_the_environment(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    home, reference = tmp_path / "home", f"hf-hub:{MODEL}@v1"
    light: dict[str, object] = {"at import": [], "torch": False}

    online = run_script(reference, cache, home, HF_ENDPOINT=server.url, HF_HUB_OFFLINE="0")
    assert online == {**light, "revision": OLD}

    server.requests.clear()
    environment = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "1"}
    assert run_script(reference, cache, home, **environment) == {**light, "revision": OLD}
    refused = run_script(reference, tmp_path / "empty", home, **environment)
    assert "Hub: HF_HUB_OFFLINE=1 forbids asking it. Next:" in str(refused["error"])
    assert server.requests == []
