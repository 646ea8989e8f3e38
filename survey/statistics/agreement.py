"""How far people agree with one another, beyond chance; and how far a model fits in as one more."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy
from statsmodels.stats.inter_rater import fleiss_kappa

from survey.statistics.accuracy import compute_mean
from survey.statistics.figures import Figure, estimate_share, explain, take_interval
from survey.statistics.resampling import Sampler
from survey.statistics.table import MISSING, AnswerTable

CROWDS = 200  # of each size, at most


def estimate_alpha(counts: NDArray[np.int64], sampler: Sampler) -> Figure:
    """Krippendorff's alpha for nominal answers, with a bootstrap interval over images.

    ``counts`` (I, answers) says how many people gave which answer to which image; people may have
    answered different images. ``n`` is the number of images with two answers or more.
    """
    paired = counts[counts.sum(axis=1) >= 2]
    if len(paired) == 0:
        return explain("alpha needs images that two people have answered")
    if (paired.sum(axis=0) > 0).sum() == 1:
        return explain("alpha is undefined: all answers agree", len(paired))
    disagreements, totals = _sum_pairs(paired)
    value = _compute_alphas(disagreements.sum()[None], totals.sum(axis=0)[None])[0]
    drawn = sampler.count("images", len(paired))
    return take_interval(
        float(value), _compute_alphas(drawn @ disagreements, drawn @ totals), len(paired)
    )


def _sum_pairs(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per image: disagreeing pairs, weighted by 1 / (answers - 1), and answers by kind.

    Krippendorff 2019, "Content Analysis", 4th ed., section 12.3: the coincidence matrix.
    """
    sizes = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1)
    return (sizes * (sizes - 1) - agreeing) / (sizes - 1), counts.astype(np.float64)


def _compute_alphas(
    disagreements: NDArray[np.float64], totals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From (draws,) and (draws, answers): 1 - observed / expected disagreement."""
    n = totals.sum(axis=1)
    expected = (n**2 - (totals**2).sum(axis=1)) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - disagreements / expected)


def add_rater(counts: NDArray[np.int64], answers: NDArray[np.int16]) -> NDArray[np.int64]:
    """The counts with a model's (I,) answers among them."""
    joined = counts.copy()
    joined[np.arange(len(counts)), answers] += 1
    return joined


def compute_fleiss(counts: NDArray[np.int64]) -> Figure:
    """Fleiss' (1971) kappa, on the images that all people have answered; ``n`` of them."""
    raters = int(counts.sum(axis=1).max(initial=0))
    complete = counts[counts.sum(axis=1) == raters]
    if raters < 2:
        return explain("Fleiss' kappa needs two people")
    if (complete.sum(axis=0) > 0).sum() == 1:
        return explain("Fleiss' kappa is undefined: all answers agree", len(complete))
    return Figure(float(fleiss_kappa(complete)), None, None, len(complete))


def estimate_steadiness(table: AnswerTable, sampler: Sampler) -> Figure:
    """Cohen's (1960) kappa of people with themselves on repeats, all their pairs taken together.

    The interval is a bootstrap over participants; ``n`` is the number of pairs.
    """
    asked = (table.again != MISSING) & table.answered
    if not asked.any():
        return explain("the study repeats no image")
    width = table.cannot_tell + 1
    people = np.nonzero(asked)[0]
    cells = (people * width + table.answers[asked]) * width + table.again[asked]
    by_person = np.bincount(cells, minlength=len(asked) * width**2).reshape(len(asked), -1)
    value = _compute_kappas(by_person.sum(axis=0)[None], width)[0]
    if not np.isfinite(value):
        return explain("kappa is undefined: all answers agree", int(asked.sum()))
    drawn = sampler.count("people", len(asked))
    return take_interval(float(value), _compute_kappas(drawn @ by_person, width), int(asked.sum()))


def _compute_kappas(counts: NDArray[np.generic], width: int) -> NDArray[np.float64]:
    """From (draws, width * width) counts of pairs."""
    shares = counts.reshape(-1, width, width).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares /= shares.sum(axis=(1, 2), keepdims=True)
        observed = np.trace(shares, axis1=1, axis2=2)
        expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
        return np.asarray((observed - expected) / (1 - expected))


def compute_entropies(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(I,) entropy of the answers in bits, 0 where all agree; NaN for an image without answers.

    Rounded to 12 places, so that ranks see images with the same counts in another order as equal.
    """
    totals = counts.sum(axis=1)
    values = np.asarray(entropy(np.where(totals[:, None] > 0, counts, 1), base=2, axis=1))
    return np.where(totals > 0, values.round(12), np.nan)


def find_majority(counts: NDArray[np.number], rng: np.random.Generator) -> NDArray[np.int16]:
    """The most frequent answer of counts (..., answers); ties are broken by lot."""
    broken = counts + rng.random(counts.shape) * 0.5
    return np.asarray(broken.argmax(axis=-1), dtype=np.int16)


def credit_majority(counts: NDArray[np.number], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """How far the most frequent answers of counts (..., I, answers) are the ``truth`` (I,).

    1 or 0, and 1/m where the truth is one of m that are equally frequent: what lots would give.
    NaN where there are no answers.
    """
    most = counts == counts.max(axis=-1, keepdims=True)
    credit = most[..., np.arange(len(truth)), truth] / most.sum(axis=-1)
    return np.where(counts.any(axis=-1), credit, np.nan)


def score_majority(table: AnswerTable) -> Figure:
    """Of all people as one rater, on the images that somebody has answered; Wilson's interval."""
    credit = credit_majority(table.counts, table.truth)
    known = credit[np.isfinite(credit)]
    return estimate_share(float(known.sum()), len(known))


def score_crowds(table: AnswerTable, sizes: list[int], sampler: Sampler) -> list[Figure]:
    """Accuracy of the majority of crowds of those sizes, people drawn without putting back.

    The interval is that of the draws, of crowds and images: what another such crowd of these people
    would reach on other images. A crowd of one is drawn for its interval alone: its value is known.
    """
    people, width = len(table.participants), table.cannot_tell + 1
    rng, crowds = sampler.build_rng("crowds"), min(CROWDS, sampler.draws)
    places = rng.random((crowds, people)).argsort(axis=1).argsort(axis=1)
    weights = sampler.count("images", len(table.images))[:crowds]
    # As numbers, so that one product counts the answers of every crowd to every image.
    given = (table.answers[:, :, None] == np.arange(width)).reshape(people, -1).astype(np.float32)
    figures = []
    for size in sizes:
        counts = ((places < size).astype(np.float32) @ given).reshape(crowds, -1, width)
        credit = credit_majority(counts, table.truth)
        seen, right = np.isfinite(credit), np.nan_to_num(credit)
        with np.errstate(invalid="ignore"):  # a crowd may have seen none of the images drawn
            scores = (weights * right).sum(axis=1) / (weights * seen).sum(axis=1)
        value = compute_mean(table) if size == 1 else float(right.sum() / seen.sum())
        figures.append(take_interval(value, scores, size))
    return figures


def list_crowd_sizes(people: int) -> list[int]:
    """1, 2, 3, 5, 10, 20, 50 ... as far as there are people, and all of them."""
    sizes = [1, 2, 3, 5]
    while sizes[-1] < people:
        tens = 10 ** (len(str(sizes[-1])) - 1)
        sizes.append(sizes[-1] * 2 if sizes[-1] // tens != 2 else tens * 5)
    kept = sorted({size for size in sizes if size < people} | {people})
    assert all(one < other for one, other in pairwise(kept))
    return kept
