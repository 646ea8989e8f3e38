"""Action units -> emotions by multinomial logistic regression: a reading that explains itself.

The regression stands beside a network as its surrogate: it says which movements of the face go with
which answer, and how far one picture's movements speak for it. It agrees with the network on a
share of pictures only, which is measured and saved with it.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from kfer.bundle import EXPLANATION, WEIGHTS, Bundle, hash_file
from kfer.faces import build_detector
from kfer.labels import Taxonomy
from kfer.surrogate import Surrogate
from training.detection import read_photos
from training.errors import DataError
from training.files import replace_text

FOLDS = 5
RESAMPLES = 200
LEVEL = 95.0  # percent, of the intervals


def explain_labels(
    table: pd.DataFrame,
    intensities: pd.DataFrame,
    taxonomy: Taxonomy,
    rendered: bool,
    seed: int,
) -> Surrogate:
    """A surrogate of what the annotators say. Raises DataError."""
    foreign = sorted(set(table["label"]) - set(taxonomy.labels))
    if foreign:
        raise DataError(
            f"--taxonomy {taxonomy.name}: has no {', '.join(foreign)}, which the manifest has; it "
            f"has {', '.join(taxonomy.labels)}."
        )
    answers = table["label"].to_numpy(dtype=object)
    return fit_surrogate(
        intensities, answers, _find_persons(table), taxonomy, rendered=rendered, seed=seed
    )


def explain_network(
    bundle: Bundle,
    table: pd.DataFrame,
    intensities: pd.DataFrame,
    taxonomy: Taxonomy,
    images: Path,
    detector: str,
    rendered: bool,
    seed: int,
) -> Surrogate:
    """A surrogate of what the network answers. Raises DataError or DetectorError."""
    photos = [images / path for path in table["path"]]
    readings = read_photos(bundle, build_detector(detector), photos, taxonomy)
    answers = np.array([reading.label for reading in readings], dtype=object)
    persons = _find_persons(table)
    # What the network answers on too few people cannot be explained; the rest can.
    often = [each for each in set(answers) if len(set(persons[answers == each])) >= FOLDS]
    kept = np.isin(answers, often)
    return fit_surrogate(
        intensities[kept],
        answers[kept],
        persons[kept],
        taxonomy,
        hash_file(bundle.folder / WEIGHTS),
        rendered=rendered,
        seed=seed,
    )


def write_explanation(
    surrogate: Surrogate,
    table: pd.DataFrame,
    intensities: pd.DataFrame,
    out: Path,
    bundle: Path | None,
) -> None:
    """coefficients.csv, contributions.csv and the surrogate itself, into the bundle too."""
    out.mkdir(parents=True, exist_ok=True)
    tabulate(surrogate).to_csv(out / "coefficients.csv", index=False)
    values = intensities.to_numpy(dtype=np.float64)
    answers = predict(surrogate, values).argmax(axis=1)
    shares = contribute(surrogate, values)[np.arange(len(values)), answers]
    contributions = pd.DataFrame(shares, columns=list(surrogate.units))
    contributions.insert(0, "answer", [surrogate.labels[each] for each in answers])
    contributions.insert(0, "path", table["path"].to_numpy())
    contributions.to_csv(out / "contributions.csv", index=False)
    for folder in [out, bundle] if bundle else [out]:
        save_surrogate(surrogate, folder / EXPLANATION)


def describe(surrogate: Surrogate) -> str:
    """What most speaks for each emotion, of what surely does, and how far it can be trusted."""
    commonest = surrogate.labels[np.argmax(surrogate.counts)]
    lines = [
        f"{surrogate.pictures} pictures; on those left out it answers as the {surrogate.target} "
        f"does in {surrogate.agreement:.1%} (always {commonest}: {surrogate.baseline:.1%})."
    ]
    lines += [f"{label} ({count}): {terms}" for label, count, terms in list_strongest(surrogate)]
    return "\n".join(lines)


def list_strongest(surrogate: Surrogate) -> list[tuple[str, int, str]]:
    """Every label, on how many pictures it was the answer, and what most speaks for or against it.

    Of coefficients whose interval holds no 0, the strongest four.
    """
    table = tabulate(surrogate)
    sure = table[(table["low"] > 0) | (table["high"] < 0)]
    rows = []
    for label, count in zip(surrogate.labels, surrogate.counts, strict=True):
        strongest = sure[sure["label"] == label].sort_values("coefficient", key=abs).iloc[::-1]
        terms = ", ".join(
            f"{row.unit} {row.coefficient:+.2f} ({row.low:+.2f} to {row.high:+.2f})"
            for row in strongest.head(4).itertuples()
        )
        known = label in surrogate.explained
        rows.append((label, count, (terms or "nothing that is sure") if known else "too few"))
    return rows


def _find_persons(table: pd.DataFrame) -> NDArray[np.object_]:
    """Who is on each picture; pictures that name nobody stand for themselves."""
    if "person" not in table:
        return table["path"].to_numpy(dtype=object)
    persons = table["person"].fillna("")
    return persons.where(persons != "", table["path"]).to_numpy(dtype=object)


def fit_surrogate(
    intensities: pd.DataFrame,
    answers: NDArray[np.object_],
    persons: NDArray[np.object_],
    taxonomy: Taxonomy,
    weights_sha256: str | None = None,
    *,
    rendered: bool = False,
    seed: int = 0,
) -> Surrogate:
    """Learn ``answers``, labels of the taxonomy, from a column per action unit.

    ``weights_sha256`` names the network that gave them, if one did.

    Raises DataError where an emotion that occurs has fewer persons than there are folds, or where
    fewer than two emotions occur.
    """
    units = tuple(str(column) for column in intensities)
    values = intensities.to_numpy(dtype=np.float64)
    labels = tuple(label for label in taxonomy.labels if label in set(answers))
    _check_persons(answers, persons, labels)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    right = np.zeros(len(values), dtype=bool)
    for fitted, left_out in folds.split(values, answers, persons):
        _, intercepts, weights = _fit(values[fitted], answers[fitted], labels)
        logits = (values[left_out] - values[fitted].mean(axis=0)) @ weights.T + intercepts
        right[left_out] = np.array(labels, dtype=object)[logits.argmax(axis=1)] == answers[left_out]
    means, intercepts, weights = _fit(values, answers, labels)
    low, high = _resample(values, answers, persons, labels, np.random.default_rng(seed))
    return Surrogate(
        taxonomy=taxonomy.name,
        labels=labels,
        units=units,
        means=tuple(means.tolist()),
        intercepts=tuple(intercepts.tolist()),
        coefficients=_freeze(weights),
        low=_freeze(low),
        high=_freeze(high),
        counts=tuple(int((answers == label).sum()) for label in labels),
        agreement=float(right.mean()),
        rendered=rendered,
        weights_sha256=weights_sha256,
    )


def save_surrogate(surrogate: Surrogate, path: Path) -> None:
    """Whole or not at all."""
    text = json.dumps(asdict(surrogate), ensure_ascii=False, indent=1)
    replace_text(path, text + "\n")


def contribute(surrogate: Surrogate, intensities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, units) -> (n, labels, units): coefficient x deviation from the mean picture."""
    deviations = intensities - np.array(surrogate.means)
    shares: NDArray[np.float64] = deviations[:, None, :] * np.array(surrogate.coefficients)[None]
    return shares


def predict(surrogate: Surrogate, intensities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, units) -> (n, labels) probabilities."""
    logits = contribute(surrogate, intensities).sum(axis=2) + np.array(surrogate.intercepts)
    shares: NDArray[np.float64] = softmax(logits, axis=1)
    return shares


def tabulate(surrogate: Surrogate) -> pd.DataFrame:
    """A row per label and unit: ``label, unit, coefficient, low, high``."""
    return pd.DataFrame(
        [
            (label, unit, *(each[row][column] for each in (
                surrogate.coefficients, surrogate.low, surrogate.high
            )))
            for row, label in enumerate(surrogate.labels)
            for column, unit in enumerate(surrogate.units)
        ],
        columns=["label", "unit", "coefficient", "low", "high"],
    )  # fmt: skip


def _freeze(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _check_persons(
    answers: NDArray[np.object_], persons: NDArray[np.object_], labels: tuple[str, ...]
) -> None:
    if len(labels) < 2:
        raise DataError(
            f"--units: only {', '.join(labels) or 'no emotion'} occurs; two are needed."
        )
    for label in labels:
        several = len(set(persons[answers == label]))
        if several < FOLDS:
            raise DataError(
                f"--units: {label} has pictures of {several} persons, and {FOLDS} are needed to "
                "measure on others than were fitted."
            )


def _fit(
    values: NDArray[np.float64], answers: NDArray[np.object_], labels: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means, intercepts at the means, and coefficients per unit of intensity.

    Fitted on standardised intensities, so that the penalty is the same for all units.
    """
    scaler = StandardScaler().fit(values)
    codes = np.array([labels.index(answer) for answer in answers])
    model = LogisticRegression(max_iter=2000).fit(scaler.transform(values), codes)
    weights, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn then gives the difference of the two
        weights = np.concatenate([-weights, weights]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    all_weights = np.zeros((len(labels), values.shape[1]))
    all_intercepts = np.full(len(labels), -np.inf)  # what was not there to fit is never answered
    all_weights[model.classes_], all_intercepts[model.classes_] = weights, intercepts
    return scaler.mean_, all_intercepts, all_weights / scaler.scale_


def _resample(
    values: NDArray[np.float64],
    answers: NDArray[np.object_],
    persons: NDArray[np.object_],
    labels: tuple[str, ...],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile intervals of the coefficients: whole persons are drawn (Davison and Hinkley 1997).

    Pictures of one person are alike; drawn one by one they would promise too much.
    """
    codes, names = pd.factorize(persons)
    rows = [np.flatnonzero(codes == code) for code in range(len(names))]
    drawn: list[NDArray[np.float64]] = []
    while len(drawn) < RESAMPLES:
        chosen = np.concatenate([rows[code] for code in rng.integers(len(rows), size=len(rows))])
        if set(answers[chosen]) == set(labels):
            drawn.append(_fit(values[chosen], answers[chosen], labels)[2])
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return low, high
