"""Figures -> the model card. No figure in a card is typed by hand."""

import dataclasses
import json
from datetime import date
from pathlib import Path
from textwrap import fill

from kfer.bundle import CARD, EXPLANATION, Bundle
from kfer.labels import get_taxonomy
from kfer.surrogate import Surrogate
from training.config import LABEL, VOTES
from training.detection import PhotoFigures
from training.evaluate import Evaluation, HeadFigures, find_head_specs
from training.explain_au import list_strongest
from training.export import EVALUATION
from training.files import replace_text
from training.network import is_own_architecture
from training.origin import count_unrecorded, find_ancestors, find_pretrained, read_training
from training.sources.fer2013 import FER2013
from training.wording import (
    TRAINING_PART,
    describe_calibration,
    describe_people,
    describe_robustness,
    describe_sureness,
    percent,
    tabulate_classes,
    tabulate_confusion,
    tabulate_robustness,
    tell_interval,
)

_FRONT_MATTER = """---
license: mit
library_name: timm
pipeline_tag: image-classification
language: [ko, en]
tags: [facial-expression-recognition, emotion, korean, calibrated]
---
"""

_UNITS_TITLE, _USES_TITLE = "## Action units\n", "## Intended use\n"
_USES = f"""{_USES_TITLE}
A demonstration and a research aid: comparing how people and a model read the same faces, labelling
pictures for a study, teaching. It reads the *expression* on a picture, as those who labelled its
training pictures would name it; it does not know what a person feels.

**Not for** hiring, schooling, policing, medicine, or any decision about a person. The European
Union's AI Act (Regulation 2024/1689, Article 5(1)(f)) forbids inferring emotions at work and in
education.
"""

DATA_TITLE = "## Data and its terms\n"
_LABELS = {
    LABEL: "FER2013's own labels",
    VOTES: "the ten raters' votes of FER+ (Barsoum et al. 2016; the votes are MIT-licensed)",
}

_LIMITS = """## Limits

- Frontal, adult, posed or acted faces of the web of 2013; children, older people, profiles, masks
  and Korean everyday photographs are rare or missing. How well it reads Korean faces has **not**
  been measured: the Korean data may not be redistributed.
- Rare classes ({rare}) rest on few pictures; see their support above.
{differing}\
- Shown as `korean5` or `aihub7`, classes are summed (놀람 and 공포 become 당황 or 불안): an
  approximation.
- Probabilities are calibrated on FER2013's kind of picture; elsewhere they are rougher.
"""
_DIFFERING = """\
- The two heads answer different questions: FER2013's label and the raters' plurality agree on only
  about 65 % of pictures.
"""

_OTHER_DATA = """## Data and its terms

Trained on {source}. Its labels and its terms are those of whoever holds it: state them here before
the model is published.
"""

_OTHER_LIMITS = """## Limits

- It has seen the kind of face that its data holds; elsewhere it is less often right, and its
  probabilities are rougher.
- Rare classes rest on few pictures; see their support above.
- Shown in another label set, classes are summed: an approximation.
"""


def write_card(bundle: Bundle, evaluation: Evaluation, today: date, command: str) -> None:
    """Write README.md and evaluation.json into the bundle's folder."""
    figures = dataclasses.asdict(evaluation)
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False)
    replace_text(bundle.folder / EVALUATION, text + "\n")
    replace_text(bundle.folder / CARD, build_card(bundle, evaluation, today, command))


def build_card(bundle: Bundle, evaluation: Evaluation, today: date, command: str) -> str:
    source = str(read_training(bundle).get("data") or "data that the bundle does not name")
    fer2013 = source == FER2013
    parts = [
        _FRONT_MATTER,
        f"# {bundle.name}\n",
        _describe(bundle, evaluation, today, command),
        *(_describe_head(head) for head in evaluation.heads),
        _describe_sureness(evaluation),
        _describe_robustness(evaluation),
        _describe_photos(evaluation.photos),
        _USES,
        _describe_fer2013(bundle) if fer2013 else _OTHER_DATA.format(source=source),
        _describe_origin(bundle),
        _tell_fer2013s_limits(bundle) if fer2013 else _OTHER_LIMITS,
        _describe_loading(bundle),
    ]
    card = "\n".join(parts)
    return _insert_units(card, bundle.surrogate) if bundle.surrogate else card


def update_card(folder: Path, surrogate: Surrogate) -> None:
    """The bundle's card, where it has one yet, says what explains its answers."""
    path = folder / CARD
    if path.exists():
        replace_text(path, _insert_units(path.read_text(encoding="utf-8"), surrogate))


def _insert_units(card: str, surrogate: Surrogate) -> str:
    """In place of what an earlier explanation said."""
    measured, uses, rest = card.partition(_USES_TITLE)
    return measured.partition(_UNITS_TITLE)[0] + _describe_units(surrogate) + uses + rest


def _describe_units(surrogate: Surrogate) -> str:
    taxonomy = get_taxonomy(surrogate.taxonomy)
    rows = "\n".join(
        f"| {label} {taxonomy.to_english(label)} | {count} | {terms} |"
        for label, count, terms in list_strongest(surrogate)
    )
    missing = [label for label in taxonomy.labels if label not in surrogate.labels]
    rare = f"\nHardly ever its answer to them: {', '.join(missing)}.\n" if missing else ""
    faces = "rendered faces" if surrogate.rendered else "photographs"
    return f"""{_UNITS_TITLE}
A multinomial logistic regression from action units to the model's answers (`{taxonomy.name}`) to
{surrogate.pictures} {faces} whose action units are known (`{EXPLANATION}`). On pictures left out it
answers as the model does in {percent(surrogate.agreement)}; always giving the commonest answer
would in {percent(surrogate.baseline)}. It says what goes with the answers as a whole, nothing of
a single photo, in which no action unit is measured. A coefficient is what one step of a unit adds
to the answer's logit, against the mean of all answers.

| answer | pictures | coefficients of units (95 % interval), where 0 is outside |
|---|---|---|
{rows}
{rare}
"""


def _describe(bundle: Bundle, evaluation: Evaluation, today: date, command: str) -> str:
    rows = "\n".join(
        f"| {_title(head.taxonomy)} | **{percent(head.accuracy.value)}** "
        f"({tell_interval(head.accuracy)}) "
        f"| {head.accuracy.n} | {head.macro_f1:.3f} "
        f"| {head.ece_before:.3f} | {head.ece_after:.3f} |"
        for head in evaluation.heads
    )
    header = (
        f"| {evaluation.data}, single crop | accuracy (95 % interval) | pictures "
        "| macro F1 | ECE before | after |"
    )
    crop = f"{bundle.crop.size} px{' grey' if bundle.crop.grey else ''}"
    return f"""Reads the expression of one face, cropped to {crop}, in Korean and English.

{header}
|---|---|---|---|---|---|
{rows}

ECE: expected calibration error of the top answer, 15 bins, before and after the temperature.
{_wrap(describe_calibration(evaluation.cross_fitted))}

{_wrap(describe_people(evaluation.heads[0], TRAINING_PART))}

{evaluation.parameters / 1e6:.2f} million parameters, {evaluation.megabytes:.1f} MB stored in fp16,
{evaluation.milliseconds:.1f} ms per face (one thread, batch 1, on the machine that measured).

Weights sha256: `{evaluation.weights_sha256}`
Measured {today.isoformat()} on the stored file with `{command}`.
"""


_TITLES = {
    "fer7": "FER2013, 7 classes (head `fer7`)",
    "ferplus8": "FER+, 8 classes by clear plurality (head `ferplus8`)",
}


def _title(taxonomy: str) -> str:
    classes = len(get_taxonomy(taxonomy).labels)
    return _TITLES.get(taxonomy, f"{taxonomy}, {classes} classes")


def _describe_head(head: HeadFigures) -> str:
    low, high = head.macro_f1_interval
    mirrored = percent(head.accuracy_mirrored.value)
    clean = head.accuracy_without_twins
    twins = (
        "\nWithout the pictures that have a pixel-identical twin in the final test: "
        f"{percent(clean.value)} of {clean.n}.\n"
        if clean.n < head.accuracy.n
        else ""
    )
    return f"""## {_title(head.taxonomy)}

{tabulate_classes(head).to_markdown()}

95 % interval of macro F1: {low:.3f} to {high:.3f}.

Rows are the truth, columns the answers:

{tabulate_confusion(head.taxonomy, head.confusion).to_markdown()}

Temperature {head.temperature:.3f}, Brier score {head.brier:.3f}.

With test-time augmentation (mean of the picture and its mirror image): {mirrored}.
{twins}"""


def _describe_sureness(evaluation: Evaluation) -> str:
    text = describe_sureness(evaluation)
    return f"## When it is not sure\n\n{_wrap(text)}\n" if text else ""


def _describe_robustness(evaluation: Evaluation) -> str:
    return f"""## Worse pictures

{_wrap(describe_robustness(evaluation))}

{tabulate_robustness(evaluation).to_markdown()}
"""


def _describe_photos(photos: PhotoFigures | None) -> str:
    if photos is None:
        return ""
    taxonomy = get_taxonomy(photos.taxonomy)
    accuracy = photos.accuracy
    return f"""## Whole photos

{accuracy.n} photos of `{photos.folder}`, from the detector on, shown as `{taxonomy.name}`. A face
was found in {percent(photos.found)}; **{percent(accuracy.value)}** ({tell_interval(accuracy)})
are read as their manifest says.

Rows are the truth, columns the answers:

{tabulate_confusion(taxonomy.name, photos.confusion).to_markdown()}
"""


def _describe_fer2013(bundle: Bundle) -> str:
    training = read_training(bundle)
    first, *others = sorted(find_head_specs(bundle), key=lambda spec: spec.start)
    labels = _LABELS[first.source] + "".join(
        f" and, for head `{spec.taxonomy.name}`, {_LABELS[spec.source]}" for spec in others
    )
    behind = [training, *find_ancestors(training).values()]
    # Those that do not say it are the first ones, which left them out.
    excluded = all(
        each.get("excluded") is not False for each in behind if each.get("data") == FER2013
    )
    tests = "the public or the final test" if excluded else "the public test"
    unsought = "" if excluded else " Copies of the final test's pictures were not looked for."
    shares = "the share of each run in a mean of weights, " if training.get("averaged") else ""
    text = (
        "Trained on the training part of FER2013 (Goodfellow et al. 2013: 48-px grey faces from a "
        f"web image search) with {labels}. FER2013's pictures were scraped, and its mirrors state "
        "contradictory licences; none of them is part of this bundle or its project. Left out of "
        f"training: pictures pixel-identical to one of {tests}, surplus copies, and copies with "
        f"contradictory labels.{unsought} The epoch, {shares}the temperatures and the threshold "
        "were chosen on PublicTest, so its figures flatter slightly; the final test (PrivateTest) "
        "was never looked at."
    )
    return f"{DATA_TITLE}\n{_wrap(text)}\n"


def _tell_fer2013s_limits(bundle: Bundle) -> str:
    specs = find_head_specs(bundle)
    rare = [
        label for label in ("혐오", "경멸") if any(label in spec.taxonomy.labels for spec in specs)
    ]
    differing = len({spec.source for spec in specs}) > 1
    return _LIMITS.format(rare=", ".join(rare), differing=_DIFFERING if differing else "")


def _describe_origin(bundle: Bundle) -> str:
    training = read_training(bundle)
    pretrained = ", ".join(f"`{name}`" for name in find_pretrained(training))
    ancestors = find_ancestors(training)
    unrecorded = count_unrecorded(training)
    if not pretrained and not ancestors and not unrecorded:
        return "It began with random weights and has seen no other pictures.\n"
    text = ""
    if ancestors:
        names = ", ".join(f"`{each['name']}@{key[:12]}`" for key, each in ancestors.items())
        text = f"It began with the weights of other bundles, or learned from them: {names}.\n"
        if data := sorted({each["data"] for each in ancestors.values() if each["data"]}):
            text += f"They learned from {'; '.join(data)}.\n"
    if unrecorded:
        runs = "1 run" if unrecorded == 1 else f"{unrecorded} of the runs"
        text += f"{runs} behind it had teachers that were not recorded.\n"
    if pretrained:
        text += (
            "It, or one of them, began with timm's pretrained weights "
            f"{pretrained}\n(`in1k`: photographs of ImageNet).\n"
        )
    return text


def _describe_loading(bundle: Bundle) -> str:
    heads = sorted(bundle.heads, key=lambda head: head.start)
    logits = ", ".join(f"{h.start}-{h.stop - 1} are `{h.taxonomy.name}`" for h in heads)
    needed, served = "", " `python -m kfer predict PHOTO` does\nall of it."
    if is_own_architecture(bundle):
        needed = "import training.architectures  # of a checkout of KFER: timm has none like it\n"
        served = "\nThe app and `python -m kfer` have no such network either."
    return f"""## Loading

```python
import timm
{needed}model = timm.create_model("local-dir:.", pretrained=True).eval()
```

Dark crops are brightened first (`kfer.classifier.brighten`).
Logits {logits}; divide by the head's temperature
(`config.json`, key `kfer`) and take the softmax within a head.{served}
"""


def _wrap(text: str) -> str:
    return fill(text, 100, break_on_hyphens=False)
