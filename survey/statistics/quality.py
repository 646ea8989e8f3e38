"""Doubts about how carefully somebody answered, for a researcher to weigh. Pure.

A flag takes nothing away: every figure and every export says what it counts.
"""

import statistics
from collections import Counter
from collections.abc import Sequence

from sklearn.metrics import cohen_kappa_score

from kfer.labels import Taxonomy
from survey.records import CANNOT_TELL, FlagRecord, ResponseRecord

FAST_MS = 500  # median of somebody who can hardly have looked
SAME_SHARE = 0.8  # of main answers with one label
AWAY_SHARE = 0.2  # of main answers during which the page was left
STEADY_KAPPA = 0.2  # agreement with oneself on repeats
ENOUGH_REPEATS = 5
RULES = (
    "too_fast", "one_label", "left_the_page", "below_chance", "failed_attention", "unsteady"
)  # fmt: skip


def find_flags(answers: Sequence[ResponseRecord], labels: Taxonomy) -> list[FlagRecord]:
    """Flags of one finished participation, from all its answers.

    Details are figures alone, so that they can stand beside the rule's name in any language.
    """
    main = [answer for answer in answers if answer.phase == "main"]
    checks = [answer for answer in answers if answer.phase == "attention"]
    details = (
        _find_haste(main),
        _find_monotony(main),
        _find_absence(main),
        _find_guessing(main, labels),
        _find_inattention(checks),
        _find_unsteadiness(answers, labels),
    )
    return [FlagRecord(rule, detail) for rule, detail in zip(RULES, details, strict=True) if detail]


def _find_haste(main: Sequence[ResponseRecord]) -> str | None:
    median = statistics.median(answer.response_ms for answer in main)
    return f"{median:.0f} ms" if median < FAST_MS else None


def _find_monotony(main: Sequence[ResponseRecord]) -> str | None:
    label, count = Counter(answer.label for answer in main).most_common(1)[0]
    return f"{label} {count} / {len(main)}" if count > SAME_SHARE * len(main) else None


def _find_absence(main: Sequence[ResponseRecord]) -> str | None:
    away = sum(answer.blurred for answer in main)
    return f"{away} / {len(main)}" if away > AWAY_SHARE * len(main) else None


def _find_guessing(main: Sequence[ResponseRecord], labels: Taxonomy) -> str | None:
    right = sum(answer.correct for answer in main)
    below = right < len(main) / len(labels.labels)
    return f"{right} / {len(main)}" if below else None


def _find_inattention(checks: Sequence[ResponseRecord]) -> str | None:
    missed = sum(not answer.correct for answer in checks)
    return f"{missed} / {len(checks)}" if missed else None


def _find_unsteadiness(answers: Sequence[ResponseRecord], labels: Taxonomy) -> str | None:
    first = {answer.image_id: answer.label for answer in answers if answer.phase == "main"}
    again = {answer.image_id: answer.label for answer in answers if answer.phase == "repeat"}
    pairs = [(first[image_id], label) for image_id, label in again.items()]
    # With one label throughout, kappa is undefined: that is the other rule's business.
    if len(pairs) < ENOUGH_REPEATS or len({label for pair in pairs for label in pair}) == 1:
        return None
    kappa = cohen_kappa_score(*zip(*pairs, strict=True), labels=[*labels.labels, CANNOT_TELL])
    if kappa >= STEADY_KAPPA:
        return None
    return f"κ {kappa:.2f}, {len(pairs)}"
