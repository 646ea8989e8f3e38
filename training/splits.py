"""Pure: a manifest's pictures are dealt out to parts or folds so that nobody stands in two.

A model that has seen a person is good at that person: the published figures of this field rest on
splits by picture, in which nearly every person of the test part is in the training part too.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from training.errors import ConfigError, DataError
from training.manifest import PARTS, TRAIN, UNKNOWN

PERSON, IMAGE = "person", "image"  # what stays together
COPIES = ("pixels", "photo")  # columns that tell which pictures are the same


def parse_ratios(text: str) -> dict[str, int]:
    """ "80/10/10" -> shares of train, validation and test; those left out are 0.

    Raises ConfigError.
    """
    try:
        shares = [int(share) for share in text.split("/")]
        ratios = dict(zip(PARTS, shares, strict=False))
        if len(shares) > len(PARTS) or min(shares) < 0 or not shares[0]:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--ratios {text}: must be up to three whole numbers for {', '.join(PARTS)}, "
            "such as 80/10/10."
        ) from None
    return ratios


def split_parts(
    table: pd.DataFrame, ratios: Mapping[str, int], seed: int, by: str = PERSON
) -> pd.DataFrame:
    """The table with its column ``part`` filled; UNKNOWN belongs to none.

    ``ratios`` are whole numbers, as 80, 10 and 10. Stratified by label as well as whole persons
    allow. Identical pictures stay together where the table has ``pixels``, those cut from identical
    photos where it has ``photo``.
    Raises DataError for too few persons or pictures.
    """
    shares = {name: share // math.gcd(*ratios.values()) for name, share in ratios.items()}
    part_of_fold = [name for name, share in shares.items() for _ in range(share)]
    known = _find_known(table)
    folds = _deal(table[known], len(part_of_fold), seed, by)
    parts = pd.Series("", index=table.index, dtype="str")
    parts[known] = np.array(part_of_fold, dtype=object)[folds]
    return table.assign(part=parts)


def split_folds(table: pd.DataFrame, folds: int, seed: int, by: str = PERSON) -> pd.DataFrame:
    """The table with its column ``fold``, 0 to folds - 1; none for UNKNOWN.

    Raises ConfigError for fewer than two folds, DataError for too few persons or pictures.
    """
    if folds < 2:
        raise ConfigError(f"--folds: must be 2 or more, but got {folds}.")
    known = _find_known(table)
    column = pd.Series(pd.NA, index=table.index, dtype="Int64")
    column[known] = _deal(table[known], folds, seed, by)
    return table.assign(fold=column)


def balance(table: pd.DataFrame, column: str, cap: int | None, seed: int) -> pd.DataFrame:
    """At most ``cap`` pictures of each label to learn from; None: as many as the rarest label has.

    ``column`` is "part" or "fold". The others stay in the table and belong to no part. Parts that
    are not learned from keep their natural mixture; of folds all are.
    """
    learned = table[table[column].notna() if column == "fold" else table[column] == TRAIN]
    counts = learned["label"].value_counts()
    most = int(counts.min()) if cap is None else cap
    shuffled = learned.sample(frac=1.0, random_state=seed)
    surplus = shuffled.index[shuffled.groupby("label").cumcount() >= most]
    dealt = table[column].copy()
    dealt[surplus] = pd.NA if column == "fold" else ""
    return table.assign(**{column: dealt})


def check_disjoint(table: pd.DataFrame, column: str, by: str = PERSON) -> None:
    """Raises DataError when a person (unless ``by`` picture) or identical pictures cross it.

    ``column`` is "part" or "fold".
    """
    if column not in table:
        raise DataError(f"--manifest: has no column {column}; run `training split` first.")
    placed = table[table[column].notna() & (table[column].astype("str") != "")]
    for what in _list_ties(placed, by):
        crossing = find_crossing(placed, what, column)
        if len(crossing):
            first = placed[placed[what] == crossing[0]]
            raise DataError(
                f"--manifest: {len(crossing)} values of {what} stand in several of {column}; the "
                f"first is {crossing[0]}, in "
                f"{', '.join(sorted(first[column].astype('str').unique()))} "
                f"({', '.join(first['path'].iloc[:2])})."
            )


def find_crossing(table: pd.DataFrame, what: str, column: str) -> pd.Index:
    """The values of ``what``, "" and missing ones apart, that stand in several of ``column``."""
    named = table[table[what].fillna("") != ""]
    homes = named.groupby(what)[column].nunique()
    return homes.index[homes > 1]


def group(table: pd.DataFrame, by: str) -> NDArray[np.int64]:
    """A number for each row; equal where rows must stay together, directly or through others.

    Raises DataError when persons are wanted and not known.
    """
    if by == PERSON:
        unknown = table[PERSON].fillna("") == "" if PERSON in table else pd.Series([True])
        if unknown.any():
            raise DataError(
                f"--manifest: {int(unknown.sum()) if PERSON in table else 'all'} pictures name no "
                "person. Give --person, a pattern that finds it in the file names, or split "
                "--by image, where people of the test part may be in training too."
            )
    rows = np.arange(len(table))
    links: list[NDArray[np.int64]] = []
    nodes = len(table)
    for column in _list_ties(table, by):
        values = table[column].fillna("")
        codes, names = pd.factorize(values)
        named = (values != "").to_numpy()
        links.append(np.stack([rows[named], codes[named] + nodes]))
        nodes += len(names)
    if not links:
        return rows
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(nodes, nodes))
    _, components = connected_components(graph, directed=False)
    numbered: NDArray[np.int64] = pd.factorize(components[: len(table)])[0].astype(np.int64)
    return numbered


def _list_ties(table: pd.DataFrame, by: str) -> list[str]:
    """The columns whose equal values tie rows together."""
    ties = [PERSON, *COPIES] if by == PERSON else [*COPIES]
    return [column for column in ties if column in table]


def _find_known(table: pd.DataFrame) -> pd.Series:
    known = table["label"] != UNKNOWN
    if not known.any():
        raise DataError("--manifest: every picture's label is UNKNOWN; there is nothing to split.")
    return known


def _deal(table: pd.DataFrame, folds: int, seed: int, by: str) -> NDArray[np.int64]:
    """A fold for each row."""
    groups = group(table, by)
    labels, names = pd.factorize(table["label"])  # numbers sort faster than names
    if folds == 1:
        return np.zeros(len(table), dtype=np.int64)
    if groups.max() + 1 < folds:
        raise DataError(
            f"--manifest: {groups.max() + 1} {by}s cannot be dealt out to {folds} equal shares; "
            "choose coarser --ratios or fewer --folds."
        )
    if by == PERSON:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        try:
            return _number(splitter.split(labels, labels, groups), len(table))
        except ValueError as error:
            raise DataError(
                f"--manifest: too few pictures for {folds} equal shares ({error}); choose coarser "
                "--ratios or fewer --folds."
            ) from None
    # Pictures, or the first of each set of identical ones: thousands of times as fast.
    _, firsts = np.unique(groups, return_index=True)
    counts = np.bincount(labels[firsts])
    rarest = int(counts.argmin())
    if counts[rarest] < folds:
        raise DataError(
            f"--manifest: {names[rarest]} has {counts[rarest]} pictures, too few for {folds} "
            "equal shares; choose coarser --ratios or fewer --folds."
        )
    dealt = _number(
        StratifiedKFold(folds, shuffle=True, random_state=seed).split(firsts, labels[firsts]),
        len(firsts),
    )
    return dealt[groups]


def _number(
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], n: int
) -> NDArray[np.int64]:
    numbered = np.zeros(n, dtype=np.int64)
    for fold, (_, chosen) in enumerate(splits):
        numbered[chosen] = fold
    return numbered
