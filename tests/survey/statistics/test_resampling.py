"""Samples that are drawn once: the right ones, and independent where they must be."""

import numpy as np
import pytest

from survey.statistics.resampling import Sampler


def test_a_sample_counts_cases_drawn_with_putting_back() -> None:
    drawn = Sampler(seed=1, draws=4000).count("people", 20)
    assert drawn.shape == (4000, 20)
    assert (drawn.sum(axis=1) == 20).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(20), abs=0.08)
    assert drawn.var() == pytest.approx(1 - 1 / 20, rel=0.03)  # of a binomial count


def test_the_same_cases_get_the_same_samples_and_others_do_not() -> None:
    sampler = Sampler(seed=1, draws=500)
    people, images = sampler.count("people", 50), sampler.count("images", 50)
    assert sampler.count("people", 50) is people
    assert np.array_equal(Sampler(seed=1, draws=500).count("people", 50), people)
    assert not np.array_equal(Sampler(seed=2, draws=500).count("people", 50), people)
    # People and images are drawn independently of each other, however many there are of both.
    assert abs(np.corrcoef(people.ravel(), images.ravel())[0, 1]) < 0.03
    one, other = (sampler.build_rng(purpose).random(2000) for purpose in ("ranks", "crowds"))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
    assert np.array_equal(sampler.build_rng("ranks").random(2000), one)
