"""Balanced choices and balanced orders, for whatever sets and sizes there are."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfer.labels import get_taxonomy
from survey.errors import StudyError
from survey.records import REPEAT_GAP, Candidate, StudyDefinition, build_definition
from survey.sampling import choose_images, draw_order, find_shortage, plan_counts, plan_trials

LABELS = get_taxonomy("korean5").labels
TEXTS = {"ko": "동의해요.", "en": "I agree."}


def define(**settings: object) -> StudyDefinition:
    return StudyDefinition(title=TEXTS, consent=TEXTS, **settings)  # type: ignore[arg-type]


def build_candidates(per_stratum: int, persons: int = 3) -> list[Candidate]:
    return [
        Candidate(f"{visibility}-{label}-{index}", visibility, label, f"p{index % persons}")
        for visibility in ("public", "private")
        for label in LABELS
        for index in range(per_stratum)
    ]


def test_a_hundred_images_are_ten_of_each_emotion_from_each_set() -> None:
    assert set(plan_counts(define()).values()) == {10}
    assert len(plan_counts(define())) == 10


@given(size=st.integers(5, 300), share=st.floats(0, 1))
def test_counts_are_as_even_as_can_be(size: int, share: float) -> None:
    counts = plan_counts(define(size=size, public_share=share))
    assert sum(counts.values()) == size
    public = sum(count for (visibility, _), count in counts.items() if visibility == "public")
    assert abs(public - size * share) <= 0.5
    for visibility in ("public", "private"):
        within = [counts.get((visibility, label), 0) for label in LABELS]
        assert max(within) - min(within) <= 1
    over_both = Counter[str]()
    for (_, label), count in counts.items():
        over_both[label] += count
    assert max(over_both.values()) - min(over_both.get(label, 0) for label in LABELS) <= 1


def test_the_choice_follows_the_seed_alone() -> None:
    candidates = build_candidates(20)
    wanted = plan_counts(define())
    chosen = choose_images(candidates, wanted, seed=1)
    assert chosen == choose_images(candidates[::-1], wanted, seed=1)
    assert chosen != choose_images(candidates, wanted, seed=2)
    assert Counter(image.stratum for image in chosen) == wanted
    assert len(set(chosen)) == 100


def test_a_stratum_shows_as_many_persons_as_it_has() -> None:
    candidates = [
        *(Candidate(f"a{index}", "public", "기쁨", "many") for index in range(50)),
        *(Candidate(f"b{index}", "public", "기쁨", f"one{index}") for index in range(4)),
        Candidate("c", "public", "기쁨", None),
    ]
    chosen = choose_images(candidates, {("public", "기쁨"): 7}, seed=0)
    persons = Counter(image.person for image in chosen)
    assert persons == {"many": 2, "one0": 1, "one1": 1, "one2": 1, "one3": 1, None: 1}


def test_what_is_missing_is_said_by_emotion_and_set() -> None:
    candidates = [c for c in build_candidates(10) if c.stratum != ("private", "슬픔")]
    assert find_shortage(candidates, plan_counts(define())) == {("private", "슬픔"): 10}
    with pytest.raises(StudyError, match=r"study of 100 .* missing 10 슬픔 \(private\)\. Import"):
        choose_images(candidates, plan_counts(define()), seed=0)


@given(
    sizes=st.dictionaries(
        st.tuples(st.sampled_from(["public", "private"]), st.sampled_from(LABELS)),
        st.integers(1, 12),
        min_size=1,
    ),
    seed=st.integers(0, 2**31),
)
def test_every_beginning_of_an_order_is_balanced(
    sizes: dict[tuple[str, str], int], seed: int
) -> None:
    images = [
        Candidate(f"{visibility}{label}{index}", visibility, label)
        for (visibility, label), count in sizes.items()
        for index in range(count)
    ]
    order = draw_order(images, random.Random(seed))
    assert sorted(order, key=lambda image: image.id) == sorted(images, key=lambda image: image.id)
    equal = len(set(sizes.values())) == 1
    for length in range(1, len(order) + 1):
        there = Counter(image.stratum for image in order[:length])
        # An image that is shown was never due a whole step later than one that is still to come.
        shown = max((there[stratum] - 1) / count for stratum, count in sizes.items())
        to_come = min((there[stratum] + 1) / count for stratum, count in sizes.items())
        assert shown <= to_come
        if equal:
            assert max(there.values()) - min(there[stratum] for stratum in sizes) <= 1


def test_two_people_see_different_orders_and_each_sees_its_own_again() -> None:
    images = build_candidates(10)
    orders = [plan_trials([], images, [], define(practice=0), seed) for seed in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]


def test_practice_comes_first_and_blocks_count_from_the_main_part() -> None:
    images = build_candidates(10)
    practice = [Candidate(f"p{index}", "public", "기쁨") for index in range(5)]
    trials = plan_trials(practice, images, [], define(), seed=3)
    assert [trial.phase for trial in trials[:6]] == ["practice"] * 5 + ["main"]
    assert Counter(trial.block for trial in trials[5:]) == {0: 25, 1: 25, 2: 25, 3: 25}
    assert {trial.image_id for trial in trials[5:]} == {image.id for image in images}


@given(seed=st.integers(0, 2**31), repeats=st.integers(0, 20), checks=st.integers(0, 4))
def test_repeats_come_late_enough_and_checks_are_scattered(
    seed: int, repeats: int, checks: int
) -> None:
    attention = [Candidate(f"check{index}", "public", "기쁨") for index in range(checks)]
    trials = plan_trials([], build_candidates(10), attention, define(repeats=repeats), seed)
    assert Counter(trial.phase for trial in trials) == Counter(
        main=100, repeat=repeats, attention=checks
    )
    firsts = {trial.image_id: at for at, trial in enumerate(trials) if trial.phase == "main"}
    for at, trial in enumerate(trials):
        if trial.phase == "repeat":
            assert at - firsts[trial.image_id] > REPEAT_GAP
    assert len({(trial.image_id, trial.phase) for trial in trials}) == len(trials)
    places = [at for at, trial in enumerate(trials) if trial.phase == "attention"]
    for index, place in enumerate(places):
        assert place >= index * 100 // max(checks, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 4}, "size must be at least 5, one per emotion, but got 4"),
        ({"public_share": 1.2}, "public_share must be from 0 to 1"),
        ({"repeats": 21}, "repeats must be from 0 to 20, but got 21"),
        ({"size": 20, "repeats": 1}, "repeats must be from 0 to 0"),
        ({"block": 0}, "block must be at least 1"),
        ({"practice": -1}, "practice must be from 0 to 50"),
        ({"repeats": 1.5}, "repeats must be a whole number, but got 1.5"),
        ({"size": 20.0}, "size must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"public_share": "0.5"}, "public_share must be a number from 0 to 1, but got '0.5'"),
        ({"demo": "no"}, "demo must be true or false, but got 'no'"),
        ({"shown_while_open": 1}, "shown_while_open must be true or false, but got 1"),
        ({"taxonomy": 5}, "taxonomy must be a text, but got 5"),
    ],
)
def test_an_impossible_definition_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        define(**settings)


def test_a_new_study_speaks_the_languages_of_the_page_and_an_old_one_is_still_read() -> None:
    texts = {"ja": "はい", "ko": "네"}
    settings = {"title": texts, "consent": texts}
    with pytest.raises(StudyError, match=r"study.toml: consent must be in ko, en or both, but is"):
        build_definition(settings, "study.toml")
    assert StudyDefinition(title=texts, consent=texts).languages == ("ja", "ko")


def test_a_title_in_no_language_is_refused() -> None:
    settings = {"title": "My study", "consent": {"en": "I agree."}}
    with pytest.raises(StudyError, match="mine: title must be a text for each language, but got"):
        build_definition(settings, "mine")
