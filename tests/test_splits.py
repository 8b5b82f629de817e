"""Telling clips apart: no unit is ever on two sides, whatever the groups and labels are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra.clips.splits import assign, k_fold, leave_one_out

SHARES = (0.7, 0.15, 0.15)
CLIPS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=30, max_size=120
)  # group and class of each clip


def arrays(clips):
    return [f"person {group}" for group, _ in clips], np.array([label for _, label in clips])


@settings(max_examples=40)
@given(CLIPS, st.integers(0, 5))
def test_a_group_never_crosses_a_split(clips, seed):
    groups, labels = arrays(clips)
    if len(set(groups)) < 3:
        return
    parts = assign(groups, [labels], SHARES, seed)
    assert len({(group, part) for group, part in zip(groups, parts.tolist(), strict=True)}) == len(
        set(groups)
    )


@settings(max_examples=40)
@given(CLIPS, st.integers(0, 5))
def test_every_clip_is_assigned_and_no_part_goes_without(clips, seed):
    groups, labels = arrays(clips)
    if len(set(groups)) < 3:
        return
    parts = assign(groups, [labels], SHARES, seed)
    assert len(parts) == len(clips)
    assert set(parts.tolist()) == {0, 1, 2}


@settings(max_examples=40)
@given(CLIPS, st.integers(0, 5), st.randoms())
def test_the_order_of_the_rows_changes_nothing(clips, seed, random):
    groups, labels = arrays(clips)
    if len(set(groups)) < 3:
        return
    order = list(range(len(clips)))
    random.shuffle(order)
    parts = assign(groups, [labels], SHARES, seed)
    shuffled = assign([groups[at] for at in order], [labels[order]], SHARES, seed)
    assert shuffled.tolist() == parts[order].tolist()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=10, max_size=80), st.integers(0, 5), st.randoms())
def test_the_order_of_clips_without_groups_changes_nothing(labels, seed, random):
    names = [f"clip {number}" for number in range(len(labels))]
    order = list(range(len(labels)))
    random.shuffle(order)
    parts = assign(names, [np.array(labels)], SHARES, seed)
    shuffled = assign([names[at] for at in order], [np.array(labels)[order]], SHARES, seed)
    assert shuffled.tolist() == parts[order].tolist()


@settings(max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=40, max_size=200), st.integers(0, 5))
def test_clips_without_groups_meet_their_shares(labels, seed):
    labels = np.array(labels)
    parts = assign([str(number) for number in range(len(labels))], [labels], SHARES, seed)
    for part, share in enumerate(SHARES):
        assert abs((parts == part).sum() - share * len(labels)) <= 2 + len(set(labels.tolist()))
        for label in set(labels.tolist()):
            here = labels == label
            assert abs((parts[here] == part).sum() - share * here.sum()) <= 2.01


def test_small_classes_do_not_starve_the_test_split():
    labels = np.repeat(np.arange(100), 3)  # three clips a class: each class alone would round test to nothing
    parts = assign([str(number) for number in range(300)], [labels], SHARES, seed=0)
    counts = np.bincount(parts, minlength=3)
    assert counts[0] == pytest.approx(210, abs=6)
    assert counts[1] == pytest.approx(45, abs=6)
    assert counts[2] == pytest.approx(45, abs=6)
    assert set(labels[parts == 0].tolist()) == set(range(100))


def test_a_class_of_one_clip_is_learnt_rather_than_only_asked_for():
    labels = np.array([0] * 50 + list(range(1, 31)))
    parts = assign([str(number) for number in range(80)], [labels], SHARES, seed=0)
    assert set(parts[50:].tolist()) == {0}


def test_a_part_too_small_for_any_group_gets_one_all_the_same():
    groups = ["a"] * 34 + ["b"] * 33 + ["c"] * 33
    parts = assign(groups, [np.zeros(100, np.int64)], (0.98, 0.01, 0.01), seed=0)
    assert set(parts.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("skew", [0.0, 1.5])
def test_uneven_groups_come_near_their_shares(skew):
    off = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        weight = rng.exponential(1, 12) ** skew
        groups = [f"p{group}" for group in rng.choice(12, 400, p=weight / weight.sum())]
        parts = assign(groups, [rng.integers(0, 6, 400)], SHARES, seed=0)
        off.append(max(abs((parts == part).mean() - share) for part, share in enumerate(SHARES)))
    assert np.mean(off) < 0.03


def test_groups_of_like_size_meet_the_shares_and_keep_the_classes_balanced():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 25)
    labels = rng.integers(0, 5, 1000)
    parts = assign([f"p{group}" for group in groups], [labels], SHARES, seed=3)
    for part, share in enumerate(SHARES):
        assert (parts == part).mean() == pytest.approx(share, abs=0.03)
        for label in range(5):
            assert (parts[labels == label] == part).mean() == pytest.approx(share, abs=0.06)


def test_groups_that_hold_one_class_each_are_spread_over_the_parts():
    groups = [f"p{number}" for number in range(20) for _ in range(10)]
    labels = np.repeat(np.arange(20) // 10, 10)  # ten people do nothing but class 0, ten nothing but class 1
    parts = assign(groups, [labels], (0.5, 0.5), seed=0)
    for label in (0, 1):
        assert (parts[labels == label] == 0).mean() == 0.5


def test_another_seed_draws_another_split():
    groups = [f"p{number // 4}" for number in range(120)]
    labels = np.arange(120) % 4
    drawn = {tuple(assign(groups, [labels], SHARES, seed).tolist()) for seed in range(5)}
    assert len(drawn) == 5


def test_a_part_without_a_share_gets_nothing():
    parts = assign([str(number) for number in range(50)], [np.zeros(50, np.int64)], (0.8, 0, 0.2), seed=0)
    assert np.bincount(parts, minlength=3).tolist() == [40, 0, 10]


def test_classes_that_are_unknown_are_no_class():
    labels = np.array([-100] * 10 + [0] * 10)
    parts = assign([f"p{number // 2}" for number in range(20)], [labels], (0.5, 0.5), seed=0)
    assert (parts == 0).sum() == 10


@settings(max_examples=40)
@given(st.integers(2, 6), CLIPS)
def test_folds_are_of_like_size(folds, clips):
    labels = np.array([label for _, label in clips])
    fold = k_fold([str(number) for number in range(len(clips))], [labels], folds, seed=1)
    sizes = np.bincount(fold, minlength=folds)
    assert sizes.max() - sizes.min() <= 1


def test_leaving_one_out_gives_each_name_a_fold():
    fold, names = leave_one_out(["eve", "ann", "eve", "bob"])
    assert names == ["ann", "bob", "eve"]
    assert fold.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize("shares", [(0, 0), (-1, 2), (float("nan"), 1)])
def test_shares_that_mean_nothing_are_refused(shares):
    with pytest.raises(ValueError, match="shares"):
        assign(["a", "b", "c"], [], shares, seed=0)


def test_fewer_groups_than_parts_are_refused():
    with pytest.raises(ValueError, match="2 units cannot fill 3"):
        assign(["a", "b", "a"], [], SHARES, seed=0)
