"""What a paper puts in tables: people and models side by side, and the images one by one."""

import pandas as pd

from survey.charts.look import Words, attach, percent, tell_p
from survey.records import find_mapping
from survey.statistics.confusion import Confusion, compute_balanced_accuracy, compute_macro_f1
from survey.statistics.summary import ModelSummary, Summary

NONE = "–"
NBSP = "\u00a0"
FEW_PEOPLE = 20
# How often, in %, the 95 % intervals of people's mean, of a model's difference from it and of both
# gaps between public and private hold the truth, by the number of people, whose accuracies differ
# by 7 points (standard deviation): tests/benchmarks/precision.py measures it.
COVERAGE = {
    1: (71.3, 94.9),
    2: (88.5, 97.5),
    5: (92.9, 98.4),
    12: (94.0, 97.3),
    40: (93.6, 96.4),
}


def tabulate_raters(summary: Summary, words: Words) -> pd.DataFrame:
    """People, their majority and every model, a row each, as texts with intervals."""
    people = summary.people
    rows = [
        {
            **_name(words.people, words),
            **_tell_accuracy(words.quote(people.mean), people.confusion, words),
            **_compare(None, words),
            "κ": words.quote(people.consistency.kappa, as_percent=False),
            "α": words.quote(people.alpha, as_percent=False),
        },
        {
            **_name(words.say("사람들의 다수", "majority of people"), words),
            **_tell_accuracy(words.quote(people.majority), None, words),
            **_compare(None, words),
            "κ": NONE,
            "α": NONE,
        },
    ]
    rows += [
        {
            **_name(model.title, words),
            **_tell_accuracy(words.quote(model.accuracy), model.confusion, words),
            **_compare(model, words),
            "κ": words.quote(model.consistency.kappa, as_percent=False),
            "α": words.quote(model.alpha, as_percent=False),
        }
        for model in summary.models
    ]
    return pd.DataFrame(rows)


def _name(name: str, words: Words) -> dict[str, str]:
    return {words.say("답한 쪽", "who"): name}


def _tell_accuracy(accuracy: str, confusion: Confusion | None, words: Words) -> dict[str, str]:
    f1 = None if confusion is None else compute_macro_f1(confusion)
    balanced = None if confusion is None else compute_balanced_accuracy(confusion)
    return {
        words.say("맞힌 비율", "right"): accuracy,
        words.say("매크로 F1", "macro F1"): NONE if f1 is None else f"{f1:.2f}",
        words.say("균형 정확도", "balanced accuracy"): percent(balanced),
    }


def _compare(model: ModelSummary | None, words: Words) -> dict[str, str]:
    names = (
        words.say("사람과의 차이", "minus people"),
        words.say("순열 검정", "permutation test"),
        words.say("다수와 McNemar", "McNemar, majority"),
        words.say("사람 중 백분위", "percentile among people"),
    )
    if model is None:
        return dict.fromkeys(names, NONE)
    versus = model.versus
    p = tell_p(versus.difference_test.p)  # which stays on one line
    values = (
        f"{words.quote_points(versus.difference)}, {p.replace(' ', NBSP)}",
        tell_p(versus.permutation.p),
        tell_p(versus.mcnemar.p),
        NONE if versus.percentile is None else f"{versus.percentile:.0f}",
    )
    return dict(zip(names, values, strict=True))


def explain_raters(summary: Summary, words: Words) -> str:
    """The caption of the table of raters."""
    n, images = len(summary.people.scores), len(summary.table.images)
    unsure = words.quote(summary.people.when_told)
    caption = words.say(
        f"참여자 {n}명, 이미지 {images}장. 대괄호는 95 % 구간이에요. “모르겠어요”는 틀린 답으로 "
        f"셌고, 빼고 세면 사람은 {unsure}를 맞혔어요. κ는 사람들과의 오류 일관성(Geirhos 2020), "
        "α는 Krippendorff의 값으로, 모델의 줄에서는 모델을 한 사람으로 더했을 때의 값이에요. κ와 "
        "α의 구간은 같은 사람들이 다른 이미지를 봤을 때의 것이에요.",
        f"{n} participants, {images} images; 95 % intervals in brackets. “Cannot tell” counts as "
        f"wrong; without those answers people are right in {unsure}. κ is error consistency with "
        "people (Geirhos 2020), α is Krippendorff's; in a model's row, with the model as one more "
        "rater. Intervals of κ and α are for the same people on other images.",
    )
    mappings = _explain_mappings(summary, words)
    if n >= FEW_PEOPLE:
        return " ".join([caption, *mappings])
    like = max(people for people in COVERAGE if people <= max(n, 1))
    low, high = COVERAGE[like]
    if n <= 2:
        alone = words.say(
            "한두 명으로는 사람들이 서로 얼마나 다른지 알 수 없어서, 구간과 p는 이 사람들에 "
            f"대해서만 말해요: 모의 연구 1,000번에서 95 % 구간은 {low}–{high} %의 경우에만 "
            "참값을 담았어요.",
            "One or two people do not tell how much people differ: intervals and p speak of these "
            "people only. In 1,000 simulated studies 95 % intervals held the true value in just "
            f"{low} to {high} % of cases.",
        )
        return " ".join([caption, alone, *mappings])
    few = words.say(
        f"사람이 적어서 구간이 조금 어긋날 수 있어요: {like}명이 이미지 100장을 본 모의 연구 "
        "1,000번에서 전체 이미지의 맞힌 비율과 그 차이의 95 % 구간은 "
        f"{low}–{high} %의 경우에 참값을 담았어요. 감정 하나의 구간은 더 어긋나요.",
        f"With so few people intervals are a little off: in 1,000 simulated studies of {like} "
        "people on 100 images those of shares of all images and of their differences held the "
        f"true value in {low} to {high} % of cases; those of single emotions are further off.",
    )
    return " ".join([caption, few, *mappings])


def _explain_mappings(summary: Summary, words: Words) -> list[str]:
    """A sentence for every model whose own labels are others than those of the study."""
    labels = summary.table.labels
    sentences = []
    for model in summary.models:
        mapping = find_mapping(model.source, labels)
        if mapping is None:
            continue
        name, source = model.title, mapping.source
        theirs, ours = (
            dict(zip(each.labels, words.name_labels(each), strict=True))
            for each in (source, labels)
        )
        changed = ", ".join(
            f"{theirs[old]}→{ours[new]}" for old, new in mapping.table.items() if old != new
        )
        missing = ", ".join(ours[label] for label in mapping.unreachable)
        without = f"; {attach(missing, ('은', '는'))} 답할 수 없어요" if missing else ""
        sentences.append(
            words.say(
                f"{name}의 답은 {source.name}에서 옮긴 어림값이에요: {changed}{without}.",
                f"{name}'s answers are an approximation, taken from {source.name}: {changed}"
                f"{f'; it never answers {missing}' if missing else ''}.",
            )
        )
    return sentences


def tabulate_images(summary: Summary, words: Words) -> pd.DataFrame:
    """The images from the hardest for people to the easiest; shares are 0-1, entropies bits."""
    table = summary.table
    names = words.name_labels(table.labels)
    columns: dict[str, object] = {
        "image": list(table.images),
        "label": [names[truth] for truth in table.truth],
        "visibility": ["private" if private else "public" for private in table.private],
        "answers": table.answered.sum(axis=0),
        "people_right": summary.people.difficulties,
        "entropy_bits": summary.people.entropies,
    }
    for model in summary.models:
        columns[f"{model.name} answer"] = [names[answer] for answer in model.answers]
        columns[f"{model.name} p(truth)"] = model.of_truth
    return pd.DataFrame(columns).sort_values(["people_right", "image"], kind="stable")
