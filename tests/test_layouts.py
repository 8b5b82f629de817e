"""Point layouts: the orders that models and readers rely on, and their mirror images."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudra.clips.layouts import LAYOUTS, LIPS, PointLayout, declare, find_layout, mirror_points
from mudra.errors import DataError

SIZES = {
    "holistic543": 543,
    "sign87": 87,
    "sign92": 92,
    "hand21": 21,
    "kinect20": 20,
    "natops8": 8,
    "coco17": 17,
}
MIRRORED = [layout for layout in LAYOUTS.values() if layout.pairs]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_names_every_row_once(layout: PointLayout) -> None:
    assert len(layout) == SIZES[layout.name]
    assert len(set(layout.points)) == len(layout)
    rows = sorted(row for part in layout.parts.values() for row in part)
    assert rows == list(range(len(layout))), "the parts are all rows, each once"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_bones_join_two_different_points_once(layout: PointLayout) -> None:
    joined = {frozenset(bone) for bone in layout.bones}
    assert len(joined) == len(layout.bones)
    assert all(len(bone) == 2 and max(bone) < len(layout) for bone in joined)


@pytest.mark.parametrize("layout", MIRRORED, ids=lambda layout: layout.name)
def test_the_mirror_order_is_its_own_inverse_and_swaps_the_named_sides(layout: PointLayout) -> None:
    order = layout.mirror_order
    assert (order[order] == np.arange(len(layout))).all()
    for row, point in enumerate(layout.points):
        if "left" in point:
            assert layout.points[order[row]] == point.replace("left", "right")


@pytest.mark.parametrize("layout", MIRRORED, ids=lambda layout: layout.name)
def test_the_mirror_maps_bones_to_bones_and_parts_to_parts(layout: PointLayout) -> None:
    order = layout.mirror_order
    bones = {frozenset(bone) for bone in layout.bones}
    assert {frozenset((int(order[one]), int(order[other]))) for one, other in layout.bones} == bones
    parts = {frozenset(rows) for rows in layout.parts.values()}
    assert {frozenset(order[list(rows)].tolist()) for rows in layout.parts.values()} == parts


def test_holistic_rows_stand_where_mediapipe_puts_them() -> None:
    points = LAYOUTS["holistic543"].points
    assert points[468] == "left_hand_wrist"
    assert points[522] == "right_hand_wrist"
    assert points[489] == "pose_nose"
    assert [points[row] for row in (502, 504, 506, 508, 510)] == [
        f"pose_left_{point}" for point in ("elbow", "wrist", "pinky", "index", "thumb")
    ]
    assert [points[row] for row in (503, 505, 507, 509, 511)] == [
        f"pose_right_{point}" for point in ("elbow", "wrist", "pinky", "index", "thumb")
    ]
    assert points[521] == "pose_right_foot_index"


def test_sign87_is_the_first_87_rows_of_sign92_and_both_select_from_holistic() -> None:
    whole, sign87, sign92 = (LAYOUTS[name] for name in ("holistic543", "sign87", "sign92"))
    assert sign87.points == sign92.points[:87]
    assert whole.rows(sign92.points).tolist() == [
        *LIPS,
        *range(468, 489),
        *range(522, 543),
        *(502, 504, 506, 508, 510),
        *(503, 505, 507, 509, 511),
    ]
    assert [len(rows) for rows in sign92.parts.values()] == [40, 21, 21, 10]
    assert list(sign87.parts) == ["lips", "left_hand", "right_hand", "pose"]


def test_the_lips_mirror_along_their_contours() -> None:
    """Each contour is given from one corner to the other, so its mirror image is itself backwards."""
    face = LAYOUTS["holistic543"].mirror_order
    upper, lower = LIPS[:11], LIPS[11:20]
    inner_upper, inner_lower = (*LIPS[20:30], 308), (78, *LIPS[30:])
    for contour in (upper, lower, inner_upper, inner_lower):
        assert face[list(contour)].tolist() == list(reversed(contour))
    sign = LAYOUTS["sign92"]
    assert [LIPS[row] for row in sign.mirror_order[:40]] == [face[row] for row in LIPS]


def test_well_known_points_of_the_face_have_their_partners() -> None:
    """Corners of the eyes, brows and the face's outline, as MediaPipe's own lists pair them."""
    order = LAYOUTS["holistic543"].mirror_order
    for right, left in (
        (33, 263),
        (133, 362),
        (70, 300),
        (107, 336),
        (234, 454),
        (172, 397),
        (98, 327),
        (3, 248),
    ):
        assert order[right] == left
    for middle in (0, 1, 2, 4, 10, 13, 14, 17, 152, 168, 200):
        assert order[middle] == middle


@given(
    points=st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).uniform(-2, 2, (3, 92, 2)).astype(np.float32)
    ),
    width=st.sampled_from([0.0, 1.0, 640.0]),
)
def test_mirroring_twice_gives_the_points_back(points: np.ndarray, width: float) -> None:
    layout = LAYOUTS["sign92"]
    points[0, 5] = np.nan
    twice = mirror_points(mirror_points(points, layout, width), layout, width)
    np.testing.assert_allclose(twice, points, atol=1e-4)
    assert twice.dtype == points.dtype


def test_mirroring_moves_a_point_to_the_other_side_and_to_its_partners_row() -> None:
    layout = LAYOUTS["kinect20"]
    points = np.zeros((2, 20, 3))
    left, right = layout.row("left_hand"), layout.row("right_hand")
    points[0, left] = [0.25, 0.5, 2.0]
    points[1, right] = np.nan
    mirrored = mirror_points(points, layout, width=0.0)
    np.testing.assert_array_equal(mirrored[0, right], [-0.25, 0.5, 2.0])
    assert np.isnan(mirrored[1, left]).all()
    assert not np.isnan(mirrored[1, right]).any()
    assert points[0, left, 0] == 0.25, "the array given is left alone"


@pytest.mark.parametrize("name", ["sign87", "hand21"])
def test_a_layout_without_a_mirror_image_is_refused(name: str) -> None:
    layout = LAYOUTS[name]
    with pytest.raises(DataError, match=f"layout {name}: it names no left/right pairs"):
        mirror_points(np.zeros((1, len(layout), 2)), layout)


@pytest.mark.parametrize("shape", [(4, 87, 2), (92,), (4, 92, 0)])
def test_an_array_of_another_layout_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="layout sign92: found an array of shape"):
        mirror_points(np.zeros(shape), LAYOUTS["sign92"])


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'kinect20'"):
        find_layout("kinekt20")
    assert find_layout("hand21") is LAYOUTS["hand21"]


def test_a_layout_of_ones_own_takes_names_and_numbers() -> None:
    layout = declare(
        "eyes",
        ["left", "right", "nose"],
        bones=[("left", 2), (1, "nose")],
        parts={"eyes": [0, "right"]},
        pairs=[(0, 1)],
    )
    assert layout.bones == ((0, 2), (1, 2))
    assert layout.parts == {"eyes": (0, 1)}
    assert layout.mirror_order.tolist() == [1, 0, 2]
    assert pickle.loads(pickle.dumps(layout)) == layout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"points": []}, "found no points"),
        ({"points": ["a", "a"]}, "'a' is row 0 and row 1"),
        ({"points": ["a", ""]}, "row 1 is ''"),
        ({"points": ["a", 3]}, "row 1 is 3"),
        ({"bones": [("left", "nos")]}, "Did you mean 'nose'"),
        ({"bones": [(0, 3)]}, "found 3; expected a point's name or a row from 0 to 2"),
        ({"bones": [(0, -1)]}, "found -1"),
        ({"bones": [(0, True)]}, "found True"),
        ({"bones": ["left"]}, "expected two points"),
        ({"bones": [(0, 1, 2)]}, "expected two points"),
        ({"bones": [(1, "right")]}, "a point with itself"),
        ({"pairs": [(0, 1), (1, 2)]}, "'right' stands there twice"),
        ({"parts": {"a": [0, 1], "b": [1]}}, "'right' stands there twice"),
        ({"parts": {"a": ["chin"]}}, "part a: found 'chin'"),
    ],
)
def test_a_wrong_layout_is_told_in_one_line(wrong: dict, message: str) -> None:
    values = {"points": ["left", "right", "nose"], **wrong}
    with pytest.raises(DataError, match=message.replace("(", r"\(")) as told:
        declare("mine", values.pop("points"), **values)
    assert str(told.value).startswith("layout mine")
    assert "\n" not in str(told.value)
