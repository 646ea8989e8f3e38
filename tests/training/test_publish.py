"""A bundle goes up to a Hub on the loopback, and what comes down answers the same."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from kfer.bundle import CARD, CONFIG, WEIGHTS, Bundle, hash_file, load_bundle
from tests.kfer.hub_server import HubServer, Repository, Snapshot, client_of, serve_hub
from tests.training.test_card import COMMAND, EVALUATED, TODAY
from training.card import build_card
from training.cli_bundle import bundle_app
from training.errors import ConfigError, DataError, TrainingError
from training.publish import Publication, compare, find_surplus, prepare, push

MODEL = Path("models/kfer-default")
REPOSITORY = "founder/kfer-small"


@pytest.fixture
def small(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The small bundle with a card of its weights, silent on its data's terms."""
    folder = tmp_path / "small"
    shutil.copytree(bundle.folder, folder)
    loaded = load_bundle(folder)
    card = build_card(loaded, EVALUATED, TODAY, COMMAND)
    card = card.replace(EVALUATED.weights_sha256, hash_file(folder / WEIGHTS))
    (folder / CARD).write_text(card, encoding="utf-8")
    return loaded


def ready(
    bundle: Bundle,
    tmp_path: Path,
    license: str = "cc-by-nc-4.0",
    terms: str = "Ask the pattern maker.",
) -> Publication:
    return prepare(bundle, tmp_path / "fresh", REPOSITORY, license, terms, False)


def test_the_fresh_folder_has_the_licence_and_the_terms(small: Bundle, tmp_path: Path) -> None:
    publication = ready(small, tmp_path)
    card = (publication.folder / CARD).read_text("utf-8")
    assert card.startswith("---\nlicense: cc-by-nc-4.0\n")
    assert "Ask the pattern maker." in card
    assert "state them here" not in card
    assert f'"hf-hub:{REPOSITORY}"' in card
    assert f"\n# {REPOSITORY.partition('/')[2]}\n" in card
    assert load_bundle(publication.folder).heads == small.heads
    text = publication.describe()
    assert f"hf-hub:{REPOSITORY} (public, licence cc-by-nc-4.0)" in text
    assert f"{(small.folder / WEIGHTS).stat().st_size:,} bytes" in text
    assert ready(small, tmp_path, license="mit").license == "mit"  # over the last one
    assert (small.folder / CARD).read_text("utf-8").startswith("---\nlicense: mit\n")


def test_terms_are_added_where_the_card_has_some(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    before = (model / CARD).read_text("utf-8")
    ready(load_bundle(model), tmp_path, terms="For research only.\n")
    card = (tmp_path / "fresh" / CARD).read_text("utf-8")
    assert "## Data and its terms\n" in card.partition("\n\nFor research only.\n\n## Limits\n")[0]
    assert before.count("\n## ") == card.count("\n## ")
    ready(load_bundle(model), tmp_path, terms="")
    assert "For research only" not in (tmp_path / "fresh" / CARD).read_text("utf-8")


def test_what_is_not_ready_is_refused(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--license WTFPL: unknown; choose one of mit, apache"):
        ready(small, tmp_path, license="WTFPL")
    with pytest.raises(ConfigError, match="--repo kfer: must be OWNER/NAME"):
        prepare(small, tmp_path / "fresh", "kfer", "mit", "x", False)
    with pytest.raises(DataError, match="on what terms its data may be used; add --data-terms"):
        ready(small, tmp_path, terms="")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"--out .*holds what belongs to no bundle \(thesis\.docx\)"
    ):
        prepare(small, tmp_path / "full", REPOSITORY, "mit", "x", False)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / CARD).write_text("My home page")
    with pytest.raises(ConfigError, match=r"--out .*site: holds files but no bundle's"):
        prepare(small, tmp_path / "site", REPOSITORY, "mit", "x", False)
    assert (tmp_path / "site" / CARD).read_text() == "My home page"
    own = Path(shutil.copytree(small.folder, tmp_path / "own"))
    description = json.loads((own / CONFIG).read_text("utf-8")) | {"architecture": "face_vgg19"}
    (own / CONFIG).write_text(json.dumps(description), "utf-8")
    with pytest.raises(DataError, match="load it neither by timm nor in the app"):
        ready(replace(small, folder=own), tmp_path)
    card = (small.folder / CARD).read_text("utf-8")
    (small.folder / CARD).write_text(card.replace(hash_file(small.folder / WEIGHTS), "0" * 64))
    with pytest.raises(DataError, match="is the card of other weights; run `training evaluate`"):
        ready(small, tmp_path)
    (small.folder / CARD).unlink()
    with pytest.raises(DataError, match="is missing; run `training evaluate` first"):
        ready(small, tmp_path)
    assert not (tmp_path / "fresh").exists()


def test_no_other_bundle_is_written_over(small: Bundle, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(MODEL, other)
    for folder, message in (
        (small.folder, "is the bundle itself"),
        (other, "holds another bundle"),
    ):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(ConfigError, match=message):
            prepare(small, folder, REPOSITORY, "mit", "x", False)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


@contextmanager
def writer_of(server: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
    """This process's Hub client may write."""
    with client_of(server, monkeypatch, home):
        monkeypatch.setenv("HF_TOKEN", server.upload_token)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "cache"))
        yield


def publish(
    publication: Publication, server: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> float:
    with writer_of(server, monkeypatch, home):
        return compare(publication, push(publication))


def test_what_comes_back_predicts_the_same(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = ready(small, tmp_path)
    with serve_hub({}) as server:
        assert publish(publication, server, monkeypatch, tmp_path / "home") <= 1e-6
        (snapshot,) = server.repositories[REPOSITORY].revisions.values()
    sent = {path.name: path.read_bytes() for path in publication.folder.iterdir()}
    assert {name: snapshot.files[name] for name in sent} == sent


OLD_FILES = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    CONFIG: b"{}",
    WEIGHTS: b"of last year",
    "evaluation.json": b"of last year",
    "runs/notes.txt": b"a folder deep",
}


def build_repository(private: bool, token: str) -> Repository:
    return Repository({"main": Snapshot("1" * 40, OLD_FILES)}, private=private, token=token)


def test_what_is_there_becomes_exactly_the_folder(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = ready(small, tmp_path)
    sent = {path.name: path.read_bytes() for path in publication.folder.iterdir()}
    assert set(sent) == {CARD, CONFIG, WEIGHTS}
    with serve_hub({}) as server, writer_of(server, monkeypatch, tmp_path / "home"):
        assert find_surplus(publication) == []  # there is nothing yet
        server.repositories[REPOSITORY] = build_repository(False, server.upload_token)
        assert find_surplus(publication) == ["evaluation.json", "runs/notes.txt"]
        assert server.repositories[REPOSITORY].revisions["main"].files == OLD_FILES  # it only asked
        assert compare(publication, push(publication)) <= 1e-6
        kept = {".gitattributes": OLD_FILES[".gitattributes"]}
        assert server.repositories[REPOSITORY].revisions["main"].files == {**sent, **kept}
        assert find_surplus(publication) == []


def test_private_is_never_public(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = replace(ready(small, tmp_path), private=True)
    with serve_hub({}) as server, writer_of(server, monkeypatch, tmp_path / "home"):
        server.repositories[REPOSITORY] = build_repository(False, server.upload_token)
        for step in (find_surplus, push):
            with pytest.raises(ConfigError, match="there already, and public; make it private in"):
                step(secret)
        assert server.repositories[REPOSITORY].revisions["main"].files == OLD_FILES
        server.repositories[REPOSITORY] = build_repository(True, server.upload_token)
        assert compare(secret, push(secret)) <= 1e-6
        for step in (find_surplus, push):
            with pytest.raises(ConfigError, match="there already, and private; add --private, or"):
                step(replace(secret, private=False))
        del server.repositories[REPOSITORY]
        assert compare(secret, push(secret)) <= 1e-6
        assert server.repositories[REPOSITORY].private


def test_a_hub_that_cannot_be_asked_is_told_of(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = ready(small, tmp_path)
    with serve_hub({}) as server, writer_of(server, monkeypatch, tmp_path / "home"):
        server.stop()
        with pytest.raises(TrainingError, match=r"(?s)cannot be asked what is there .*connection"):
            find_surplus(publication)


def test_the_command_shows_what_goes_and_does_it_only_when_told(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["publish", "--bundle", small.folder, "--repo", REPOSITORY, "--out", tmp_path / "out",
               "--data-terms", "Ask the pattern maker."]  # fmt: skip
    runner = CliRunner()
    with serve_hub({}) as server, writer_of(server, monkeypatch, tmp_path / "home"):
        server.repositories[REPOSITORY] = build_repository(False, server.upload_token)
        shown = runner.invoke(bundle_app, [str(each) for each in command])
        assert shown.exit_code == 0
        assert re.search(r"^evaluation\.json +removed$", shown.stdout, re.MULTILINE)
        assert re.search(r"^runs/notes\.txt +removed$", shown.stdout, re.MULTILINE)
        assert "nothing was sent" in shown.stderr
        assert server.repositories[REPOSITORY].revisions["main"].files == OLD_FILES
        done = runner.invoke(bundle_app, [str(each) for each in [*command, "--yes"]])
        assert done.exit_code == 0
        assert "comes back, logits differ by" in done.stdout
        assert "evaluation.json" not in server.repositories[REPOSITORY].revisions["main"].files


def test_other_weights_that_come_back_are_noticed(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.safetensors"
    network = load_file(small.folder / WEIGHTS)
    network["fc.bias"][3] += 0.01
    save_file(network, other)

    def spoil(name: str, content: bytes) -> bytes:
        return other.read_bytes() if name == WEIGHTS else content

    with serve_hub({}) as server:
        server.spoil = spoil
        with pytest.raises(TrainingError, match=r"what comes back differs by 0\.0.*not to be"):
            publish(ready(small, tmp_path), server, monkeypatch, tmp_path / "home")


def test_a_hub_that_does_not_let_one_in_is_told_of(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_hub({}) as server:
        server.upload_token = "another"
        publication = ready(small, tmp_path)
        with client_of(server, monkeypatch, tmp_path / "home"):
            monkeypatch.setenv("HF_TOKEN", "hf_wrong")
            with pytest.raises(TrainingError, match=r"(?s)the Hub did not take it .*hf auth login"):
                push(publication)
        assert server.repositories == {}


def test_our_own_model_is_ready_as_it_is(tmp_path: Path) -> None:
    publication = prepare(load_bundle(MODEL), tmp_path / "fresh", REPOSITORY, "mit", None, True)
    assert publication.describe().startswith(f"hf-hub:{REPOSITORY} (private, licence mit)")
    assert load_bundle(publication.folder).heads == load_bundle(MODEL).heads
    assert load_bundle(publication.folder).surrogate == load_bundle(MODEL).surrogate
