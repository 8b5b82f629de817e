"""The built-in layouts, in the order in which their recorders give the points.

Sources of the orders: MediaPipe Holistic (face mesh 468, hand 21, pose 33), Kinect for Windows SDK 1,
the NATOPS release in the UEA archive, COCO keypoints. The face mesh is exactly symmetric in its
canonical model; its left/right partners were taken from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mudra.clips.layouts.declaring import declare
from mudra.clips.layouts.layout import PointLayout

SIDES = ("left", "right")

_FINGERS = ("index", "middle", "ring", "pinky")
HAND = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
)
"""The 21 points of a hand: the wrist, then four of each finger from the palm to the tip."""

HAND_BONES = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (0, 17), (5, 9), (9, 13), (13, 17)),
    *((knuckle + step, knuckle + step + 1) for knuckle in (5, 9, 13, 17) for step in range(3)),
)

_LIMBS = (
    "shoulder",
    "elbow",
    "wrist",
    "pinky",
    "index",
    "thumb",
    "hip",
    "knee",
    "ankle",
    "heel",
    "foot_index",
)
POSE = (
    "nose",
    *(f"{side}_{point}" for side in SIDES for point in ("eye_inner", "eye", "eye_outer")),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{side}_{point}" for point in _LIMBS for side in SIDES),
)
"""The 33 points of the whole body."""

ARM = ("elbow", "wrist", "pinky", "index", "thumb")
_ARM_BONES = "elbow-wrist wrist-pinky wrist-index wrist-thumb pinky-index"
_BODY_BONES = (
    "eye_inner-eye eye-eye_outer eye_outer-ear shoulder-elbow shoulder-hip hip-knee knee-ankle "
    "ankle-heel ankle-foot_index heel-foot_index"
)
_ACROSS = ("nose-left_eye_inner", "nose-right_eye_inner", "mouth_left-mouth_right")
_SHOULDERS_AND_HIPS = ("left_shoulder-right_shoulder", "left_hip-right_hip")

# Rows of the face mesh that outline the lips: outer upper from the right corner to the left one,
# outer lower without the corners, inner upper without its left corner, inner lower with it.
LIPS = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    *(146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
_OUTER = (*LIPS[:11], *reversed(LIPS[11:20]))  # once around
_INNER = (LIPS[20], *LIPS[21:30], *reversed(LIPS[30:]))

# The rows of the face mesh on the middle line. All other rows below 248 lie on the person's right, and
# their partners on the left are 248 to 467 in the same order.
_FACE_MIDDLE = (*(0, 1, 2, 4, 5, 6), *range(8, 20), *(94, 151, 152, 164, 168, 175, 195, 197, 199, 200))
_FACE_RIGHT = [row for row in range(248) if row not in _FACE_MIDDLE]
_FACE_LEFT = dict(zip(_FACE_RIGHT, range(248, 468), strict=True))

Names = list[tuple[str, str]]


def _bones(text: str, prefix: str = "") -> Names:
    """Bones written as "elbow-wrist wrist-thumb"."""
    couples = (bone.split("-") for bone in text.split())
    return [(prefix + one, prefix + other) for one, other in couples]


def _both(text: str, prefix: str = "") -> Names:
    """The same bones on both sides of the body."""
    return [bone for side in SIDES for bone in _bones(text, f"{prefix}{side}_")]


def _ring(rows: Sequence[int]) -> Names:
    return [(f"face_{one}", f"face_{other}") for one, other in zip(rows, (*rows[1:], rows[0]), strict=True)]


def _swaps(names: Sequence[str]) -> Names:
    """(left, right) among names that differ only in the side they name."""
    return [(name, name.replace("left", "right")) for name in names if "left" in name]


def _face_swaps(rows: Iterable[int]) -> Names:
    return [(f"face_{_FACE_LEFT[row]}", f"face_{row}") for row in rows if row in _FACE_LEFT]


def _hand(side: str) -> list[str]:
    return [f"{side}_hand_{point}" for point in HAND]


def _hand_bones(side: str) -> Names:
    names = _hand(side)
    return [(names[one], names[other]) for one, other in HAND_BONES]


def _mediapipe_bones(arms: Sequence[str]) -> Names:
    """Lips, both hands, and the arms whose rows are there, each joined to its hand."""
    bones = [*_ring(_OUTER), *_ring(_INNER), *_hand_bones("left"), *_hand_bones("right")]
    for side in arms:
        bones += [*_bones(_ARM_BONES, f"pose_{side}_"), (f"pose_{side}_wrist", f"{side}_hand_wrist")]
    return bones


def _holistic() -> PointLayout:
    face, pose = [f"face_{row}" for row in range(468)], [f"pose_{point}" for point in POSE]
    parts = {"face": face, "left_hand": _hand("left"), "pose": pose, "right_hand": _hand("right")}
    names = [name for part in parts.values() for name in part]
    body = [*_both(_BODY_BONES, "pose_"), *_bones(" ".join((*_ACROSS, *_SHOULDERS_AND_HIPS)), "pose_")]
    swaps = [*_face_swaps(range(468)), *_swaps(names[468:])]
    shoulders = ["pose_left_shoulder", "pose_right_shoulder"]
    return declare(
        "holistic543",
        names,
        bones=[*_mediapipe_bones(SIDES), *body],
        parts=parts,
        pairs=swaps,
        origin=shoulders,
        unit=[shoulders],
    )


def _sign(name: str, arms: Sequence[str]) -> PointLayout:
    """Lips 40, both hands 21 each, and 5 of each arm: a selection of holistic543 with its names."""
    lips, pose = [f"face_{row}" for row in LIPS], [f"pose_{side}_{point}" for side in arms for point in ARM]
    parts = {"lips": lips, "left_hand": _hand("left"), "right_hand": _hand("right"), "pose": pose}
    names = [name for part in parts.values() for name in part]
    # The mirror image of one arm is the other arm, which sign87 does not hold: it has no pairs.
    swaps = [*_face_swaps(LIPS), *_swaps(names[40:])] if len(arms) == 2 else []
    elbows = [f"pose_{side}_elbow" for side in arms]
    return declare(
        name, names, bones=_mediapipe_bones(arms), parts=parts, pairs=swaps, origin=lips, roots=elbows
    )


def _kinect() -> PointLayout:
    parts = {"spine": ["hip_centre", "spine", "shoulder_centre", "head"]}
    for limb, joints in (("arm", "shoulder elbow wrist hand"), ("leg", "hip knee ankle foot")):
        parts |= {f"{side}_{limb}": [f"{side}_{joint}" for joint in joints.split()] for side in SIDES}
    names = [name for part in parts.values() for name in part]
    bones = [
        *_bones("hip_centre-spine spine-shoulder_centre shoulder_centre-head"),
        *(("shoulder_centre", f"{side}_shoulder") for side in SIDES),
        *(("hip_centre", f"{side}_hip") for side in SIDES),
        *_both("shoulder-elbow elbow-wrist wrist-hand hip-knee knee-ankle ankle-foot"),
    ]
    torso = _bones("hip_centre-shoulder_centre")
    return declare(
        "kinect20", names, bones=bones, parts=parts, pairs=_swaps(names), origin=["hip_centre"], unit=torso
    )


def _natops() -> PointLayout:
    names = [f"{side}_{point}" for point in ("hand_tip", "elbow", "wrist", "thumb") for side in SIDES]
    parts = {f"{side}_arm": [name for name in names if name.startswith(side)] for side in SIDES}
    bones = _both("elbow-wrist wrist-hand_tip wrist-thumb")
    elbows = ["left_elbow", "right_elbow"]
    return declare("natops8", names, bones=bones, parts=parts, pairs=_swaps(names), origin=elbows)


def _coco() -> PointLayout:
    joints = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    names = ["nose", *(f"{side}_{joint}" for joint in joints for side in SIDES)]
    parts = {"head": names[:5]}
    for limb, chain in (("arm", joints[2:5]), ("leg", joints[5:])):
        parts |= {f"{side}_{limb}": [f"{side}_{joint}" for joint in chain] for side in SIDES}
    bones = [
        *_bones(" ".join(("nose-left_eye nose-right_eye", *_SHOULDERS_AND_HIPS))),
        *_both("eye-ear ear-shoulder shoulder-elbow elbow-wrist shoulder-hip hip-knee knee-ankle"),
    ]
    shoulders = ["left_shoulder", "right_shoulder"]
    torso = _both("shoulder-hip")
    return declare(
        "coco17", names, bones=bones, parts=parts, pairs=_swaps(names), origin=shoulders, unit=torso
    )


LAYOUTS: Mapping[str, PointLayout] = {
    layout.name: layout
    for layout in (
        _holistic(),
        _sign("sign87", ("left",)),
        _sign("sign92", SIDES),
        declare(
            "hand21",
            HAND,
            bones=HAND_BONES,
            parts={"hand": HAND},
            origin=["wrist"],
            unit=[("wrist", "middle_mcp")],
        ),
        _kinect(),
        _natops(),
        _coco(),
    )
}
"""Every built-in layout by name."""
