"""Image sets + size + seed -> which images a study shows, and in what order each person sees them.

Pure: the same arguments give the same answer on every machine.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from survey.errors import StudyError
from survey.records import REPEAT_GAP, Candidate, PlannedTrial, StudyDefinition

Stratum = tuple[str, str]


def plan_counts(definition: StudyDefinition) -> dict[Stratum, int]:
    """Main images wanted of each set x emotion: as even as ``size`` and ``public_share`` allow."""
    public = round(definition.size * definition.public_share)
    labels = definition.labels.labels
    counts = {}
    for visibility, total, first in (
        ("public", public, 0),
        # The remainder of one set falls on other emotions than that of the other.
        ("private", definition.size - public, public % len(labels)),
    ):
        each, left = divmod(total, len(labels))
        for index, label in enumerate(labels):
            extra = (index - first) % len(labels) < left
            counts[visibility, label] = each + extra
    return {stratum: count for stratum, count in counts.items() if count}


def find_shortage(
    candidates: Iterable[Candidate], wanted: Mapping[Stratum, int]
) -> dict[Stratum, int]:
    """How many images each set x emotion lacks; empty when a balanced study is possible."""
    there: dict[Stratum, int] = defaultdict(int)
    for candidate in candidates:
        there[candidate.stratum] += 1
    return {
        stratum: count - there[stratum]
        for stratum, count in wanted.items()
        if there[stratum] < count
    }


def describe_shortage(shortage: Mapping[Stratum, int]) -> str:
    return ", ".join(f"{n} {label} ({set_})" for (set_, label), n in shortage.items())


def choose_images(
    candidates: Sequence[Candidate], wanted: Mapping[Stratum, int], seed: int
) -> list[Candidate]:
    """The images of a study; within a stratum, as many different persons as there are.

    Raises StudyError when a stratum has too few.
    """
    shortage = find_shortage(candidates, wanted)
    if shortage:
        raise StudyError(
            f"A balanced study of {sum(wanted.values())} images is not possible: missing "
            f"{describe_shortage(shortage)}. Import more images, or choose a smaller size or "
            "another public_share."
        )
    draw = random.Random(seed)
    chosen = []
    for stratum, count in sorted(wanted.items()):
        pool = sorted((c for c in candidates if c.stratum == stratum), key=lambda c: c.id)
        draw.shuffle(pool)
        chosen += _take_turns(pool, lambda c: c.person or c.id)[:count]
    return chosen


def require_different(candidates: Sequence[Candidate]) -> None:
    """Raises StudyError where a picture could come twice, or be public and private at once."""
    often = Counter(candidate.pixels_sha256 for candidate in candidates)
    copies = sum(1 for count in often.values() if count > 1)
    if copies:
        raise StudyError(
            f"{copies} pictures stand in several of the image sets to draw from, by their pixels. "
            "Name sets without common pictures by --set."
        )


def choose_practice(candidates: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    """``count`` images, the emotions in turn. Raises StudyError when there are too few."""
    pool = sorted(candidates, key=lambda candidate: candidate.id)
    if len(pool) < count:
        raise StudyError(f"practice needs {count} images, but its set has {len(pool)}.")
    random.Random(seed).shuffle(pool)
    return _take_turns(pool, lambda candidate: candidate.label)[:count]


def _take_turns(
    pool: Sequence[Candidate], name_group: Callable[[Candidate], str]
) -> list[Candidate]:
    """First one image of every group, then a second of every group that has one, and so on."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for candidate in pool:
        turns.append(seen[name_group(candidate)])
        seen[name_group(candidate)] += 1
    return [pool[index] for index in sorted(range(len(pool)), key=turns.__getitem__)]


def draw_order(images: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
    """A random order whose every beginning holds each set x emotion in proportion.

    Image i of the n of a stratum falls at a random place of the i-th n-th of the way.
    """
    strata: dict[Stratum, list[Candidate]] = defaultdict(list)
    for image in sorted(images, key=lambda image: image.id):
        strata[image.stratum].append(image)
    placed = []
    for _, stratum in sorted(strata.items()):
        draw.shuffle(stratum)
        placed += [
            ((index + draw.random()) / len(stratum), image) for index, image in enumerate(stratum)
        ]
    return [image for _, image in sorted(placed, key=lambda entry: entry[0])]


def plan_trials(
    practice: Sequence[Candidate],
    main: Sequence[Candidate],
    attention: Sequence[Candidate],
    definition: StudyDefinition,
    seed: int,
) -> list[PlannedTrial]:
    """Everything that one person is shown, in order; blocks count from 0 within the main part."""
    draw = random.Random(seed)
    warm_up = sorted(practice, key=lambda image: image.id)
    draw.shuffle(warm_up)
    order = [(image.id, "main") for image in draw_order(main, draw)]
    _insert_attention(order, attention, draw)
    _insert_repeats(order, definition.repeats, draw)
    return [
        *(PlannedTrial(image.id, "practice", 0) for image in warm_up),
        *(
            PlannedTrial(image_id, phase, index // definition.block)
            for index, (image_id, phase) in enumerate(order)
        ),
    ]


def _insert_attention(
    order: list[tuple[str, str]], attention: Sequence[Candidate], draw: random.Random
) -> None:
    """Scattered: one at a random place of each equal part of the way."""
    images = sorted(attention, key=lambda image: image.id)
    draw.shuffle(images)
    places = [
        int((index + draw.random()) / len(images) * len(order)) for index in range(len(images))
    ]
    for place, image in sorted(zip(places, images, strict=True), key=lambda entry: -entry[0]):
        order.insert(place, (image.id, "attention"))


def _insert_repeats(order: list[tuple[str, str]], repeats: int, draw: random.Random) -> None:
    """Images of the first part come again, REPEAT_GAP trials later or more."""
    early = [image_id for image_id, phase in order[: -REPEAT_GAP - repeats] if phase == "main"]
    for image_id in draw.sample(early, min(repeats, len(early))):
        first = order.index((image_id, "main"))
        order.insert(draw.randint(first + REPEAT_GAP + 1, len(order)), (image_id, "repeat"))
