"""In which order the known detectors write their joints, in this package's words."""

from __future__ import annotations

_FACE = "nose left_eye right_eye left_ear right_ear"
_ARMS = "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist"
_LEGS = "left_hip right_hip left_knee right_knee left_ankle right_ankle"
_FEET = "big_toe small_toe heel"
_LEFT_FOOT, _RIGHT_FOOT = (
    " ".join(f"{side}_{part}" for part in _FEET.split()) for side in ("left", "right")
)
_TRUNK = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist"  # body
)
_RIGHT_LEG, _LEFT_LEG = (
    " ".join(f"{side}_{part}" for part in ("hip", "knee", "ankle")) for side in ("right", "left")
)
_LIMBS = (  # of either side
    ("hip", "knee"), ("knee", "ankle"), ("ankle", "toe"), ("shoulder", "elbow"), ("elbow", "wrist"),
    ("wrist", "hand"), ("hip", "shoulder"),
)  # fmt: skip
_OWN_ORDER_FACE = "right_eye left_eye right_ear left_ear"
_HAND = "left_{0} right_{0}"
_MEDIAPIPE = (
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer "
    "left_ear right_ear left_mouth right_mouth "
    f"{_ARMS} {_HAND.format('pinky')} {_HAND.format('index')} {_HAND.format('thumb')} "
    f"{_LEGS} {_HAND.format('heel')} {_HAND.format('foot_index')}"
)
ORDERS: dict[str, tuple[str, ...]] = {
    "body_25": tuple(
        f"{_TRUNK} pelvis {_RIGHT_LEG} {_LEFT_LEG} {_OWN_ORDER_FACE} "
        f"{_LEFT_FOOT} {_RIGHT_FOOT}".split()
    ),
    "body_25b": tuple(f"{_FACE} {_ARMS} {_LEGS} neck head_top {_LEFT_FOOT} {_RIGHT_FOOT}".split()),
    "coco": tuple(f"{_FACE} {_ARMS} {_LEGS}".split()),
    "coco_18": tuple(f"{_TRUNK} {_RIGHT_LEG} {_LEFT_LEG} {_OWN_ORDER_FACE}".split()),
    "mediapipe": tuple(_MEDIAPIPE.split()),
    "mpii": (
        *reversed(_RIGHT_LEG.split()),
        *_LEFT_LEG.split(),
        *"pelvis thorax neck head_top right_wrist right_elbow right_shoulder".split(),
        *"left_shoulder left_elbow left_wrist".split(),
    ),
}


def order_of(order: str | None, joints: int, where: object) -> tuple[str, ...]:
    """The joint names of a file that does not hold them.

    Args:
        order: a key of `ORDERS`, or names joined by commas; None: nobody said.
        joints: how many the file has.
        where: the file, for messages.

    Returns:
        So many names.

    Raises:
        ValueError: nobody said, an unknown order, or one of another length.
    """
    fitting = [name for name, names in ORDERS.items() if len(names) == joints]
    known = f"known orders of {joints} joints: {', '.join(fitting) or 'none'}"
    if order is None:
        raise ValueError(
            f"{where}: {joints} joints without names, and nothing in the file says their order; "
            f"name it (--order), {known}, or list the names, joined by commas"
        )
    names = ORDERS.get(order, tuple(word.strip() for word in order.split(",")))
    if order not in ORDERS and len(names) == 1:
        raise ValueError(f"{where}: unknown order {order!r}; known: {', '.join(ORDERS)}")
    if len(names) != joints or len(set(names)) != len(names):
        raise ValueError(
            f"{where}: {joints} joints, but order {order!r} names {len(set(names))}; {known}"
        )
    return names


def person_bones(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """What is joined in a person, of joints by this package's words.

    Args:
        names: of the joints.

    Returns:
        Pairs of their numbers; (): none of them is known.
    """
    pairs = [(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in _LIMBS]
    pairs += [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")]
    pairs += [("neck", "head_top" if "head_top" in names else "nose"), ("thorax", "neck")]
    number = {name: i for i, name in enumerate(names)}
    return tuple((number[a], number[b]) for a, b in pairs if a in number and b in number)
