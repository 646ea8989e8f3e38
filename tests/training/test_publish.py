"""A bundle goes up to a Hub on the loopback, and what comes down answers the same."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from kfer.bundle import CARD, WEIGHTS, Bundle, hash_file, load_bundle
from tests.kfer.hub_server import HubServer, client_of, serve_hub
from tests.training.test_card import COMMAND, EVALUATED, TODAY
from training.card import build_card
from training.errors import ConfigError, DataError, TrainingError
from training.publish import Publication, compare, prepare, push

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
    assert load_bundle(publication.folder).heads == small.heads
    text = publication.describe()
    assert f"hf-hub:{REPOSITORY} (public, licence cc-by-nc-4.0)" in text
    assert f"{(small.folder / WEIGHTS).stat().st_size:,} bytes" in text
    assert ready(small, tmp_path, license="mit").license == "mit"  # over the last one
    assert (small.folder / CARD).read_text("utf-8").startswith("---\nlicense: mit\n")


def test_what_is_not_ready_is_refused(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--license WTFPL: unknown; choose one of mit, apache"):
        ready(small, tmp_path, license="WTFPL")
    with pytest.raises(ConfigError, match="--repo kfer: must be OWNER/NAME"):
        prepare(small, tmp_path / "fresh", "kfer", "mit", "x", False)
    with pytest.raises(DataError, match="on what terms its data may be used; add --data-terms"):
        ready(small, tmp_path, terms="")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds what belongs to no bundle \(thesis\.docx\)"):
        prepare(small, tmp_path / "full", REPOSITORY, "mit", "x", False)
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


def publish(
    publication: Publication, server: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> float:
    with client_of(server, monkeypatch, home):
        monkeypatch.setenv("HF_TOKEN", server.upload_token)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "cache"))
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
