"""Three annotators' boxes become one."""

import numpy as np

from training.boxes import choose_closest, merge_boxes

NOWHERE = (np.nan,) * 4


def test_the_two_closest_boxes_are_averaged_and_the_third_left_out() -> None:
    one, near, far = (10, 20, 110, 140), (14, 20, 112, 138), (300, 300, 400, 400)
    drawn = np.array([[one, near, far], [one, far, near], [far, one, near]], dtype=float)
    assert merge_boxes(drawn).tolist() == [[12, 20, 111, 139]] * 3


def test_of_pairs_that_are_equally_close_the_first_annotators_count() -> None:
    drawn = np.array([[(0, 0, 10, 10), (2, 0, 12, 10), (4, 0, 14, 10)]], dtype=float)
    assert merge_boxes(drawn).tolist() == [[1, 0, 11, 10]]


def test_missing_boxes_leave_the_mean_of_two_a_single_one_or_none() -> None:
    one, other = (10, 20, 30, 40), (20, 20, 30, 60)
    drawn = np.array(
        [
            [one, NOWHERE, other],
            [NOWHERE, NOWHERE, other],
            [NOWHERE, NOWHERE, NOWHERE],
        ],
        dtype=float,
    )
    merged = merge_boxes(drawn)
    assert merged[:2].tolist() == [[15, 20, 30, 50], [20, 20, 30, 60]]
    assert np.isnan(merged[2]).all()


def test_where_one_drew_several_faces_the_pair_that_agrees_is_kept() -> None:
    crowd = [(0.0, 0.0, 5.0, 5.0), (50.0, 50.0, 90.0, 90.0)]
    face, elsewhere = (52.0, 50.0, 90.0, 90.0), (200.0, 0.0, 240.0, 40.0)
    assert choose_closest([crowd, [face], [elsewhere]]) == [crowd[1], face, None]
    assert choose_closest([[elsewhere], [], crowd]) == [elsewhere, None, crowd[1]]
    assert choose_closest([[], crowd, []]) == [None, crowd[1], None]  # the larger one
