"""Rig checks: what the doctor asks of a calibration alone, one function a question.

The answer is a `Check` with its figure and remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..cameras import CameraRig
from ..lenses import largest_radius2
from ..units import METRES
from ..volumes import overlap

PASS, WARN, FAIL = "pass", "warn", "fail"
SMALLEST, LARGEST = 5e-3, 300.0  # metres from camera to animal


@dataclass(frozen=True)
class Check:
    """The answer to one question about a recording."""

    name: str
    state: str  # pass, warn or fail
    finding: str  # with its figure
    remedy: str = ""  # what to do


def check_lenses(rig: CameraRig) -> Check:
    """Are focal lengths, principal points and distortions what a lens can have?

    Args:
        rig: V cameras.

    Returns:
        A warning that names up to three, or the fields of view.
    """
    if odd := _odd_lenses(rig):
        remedy = "was it calibrated on images of another size, or cropped afterwards?"
        return Check("lenses", WARN, "; ".join(odd[:3]), remedy=remedy)
    view = _fields_of_view(rig)
    finding = f"fields of view {float(view.min()):.0f} to {float(view.max()):.0f} degrees"
    flat = [name for name, d in zip(rig.names, rig.distortion) if not d.any()]
    if len(flat) == rig.views:
        return Check("lenses", PASS, f"{finding}; the calibration holds no lens distortion")
    none = f"; no lens distortion for {', '.join(flat)}" if flat else ""
    return Check("lenses", WARN if flat else PASS, finding + none, remedy=_FLAT if flat else "")


_FLAT = "were these cameras' coefficients left out when the others' were written?"


def check_notes(rig: CameraRig) -> Check | None:
    """Does the calibration's file say more than was read?

    Args:
        rig: V cameras.

    Returns:
        A warning that names up to three fields; None where everything was understood.
    """
    if not rig.notes:
        return None
    more = f" and {len(rig.notes) - 3} more" if len(rig.notes) > 3 else ""
    remedy = (
        "if it changes what the cameras see, write it as fields that are read (docs/formats.md)"
    )
    return Check("calibration", WARN, "; ".join(rig.notes[:3]) + more, remedy=remedy)


def _fields_of_view(rig: CameraRig) -> torch.Tensor:
    """Horizontal, (V,) degrees."""
    return torch.rad2deg(2 * torch.atan(rig.wh[0] / 2 / rig.K[:, 0, 0]))


def _odd_lenses(rig: CameraRig) -> list[str]:
    (W, H), names = rig.wh, rig.names
    own = rig.K.new_tensor(rig.sizes or [rig.wh] * rig.views) / rig.K.new_tensor(rig.wh)
    f, centre = torch.stack([rig.K[:, 0, 0], rig.K[:, 1, 1]], -1), rig.K[:, None, :2, 2]
    off = ((rig.K[:, :2, 2] / rig.K.new_tensor(rig.wh)) - 0.5).abs().amax(-1)
    corners = (rig.K.new_tensor([[0, 0], [W, 0], [0, H], [W, H]]) - centre) / f[:, None]
    edge = corners.square().sum(-1).amax(-1)
    fold = largest_radius2(rig.distortion)[:, 0, 0]
    odd = [
        f"{n}: focal lengths {float(a):.0f} and {float(b):.0f} px differ"
        for n, (a, b) in zip(names, f * own)
        if abs(a / b - 1) > 0.1
    ]
    odd += [
        f"{n}: principal point {float(o):.0%} of the image away from its middle"
        for n, o in zip(names, off)
        if o > 0.25
    ]
    odd += [
        f"{n}: field of view {float(v):.0f} degrees"
        for n, v in zip(names, _fields_of_view(rig))
        if not 4 < v < 120
    ]
    return odd + [
        f"{n}: the distortion folds back inside the image"
        for n, e, limit in zip(names, edge, fold)
        if limit < 0.8 * e
    ]


def check_unit(rig: CameraRig) -> Check:
    """Do cameras stand centimetres to a hundred metres from what they film, in the rig's unit?

    Microscopes and stadiums have other sizes, so an unusual one is a warning; what cannot be any
    rig's size is a failure.

    Args:
        rig: V cameras.

    Returns:
        A failure if no rig is so small or large, a warning if few are or if the unit is not told.
    """
    reach = _reach(rig)
    fits = [unit for unit in ("mm", "cm", "m") if 0.1 < reach * METRES[unit] < 30]
    finding = f"cameras stand {reach:.4g} {rig.unit} from what they film"
    if rig.unit not in METRES:
        told = "not told" if rig.unit == "unknown" else f"'{rig.unit}' is no known length"
        finding = f"cameras stand {reach:.4g} from what they film (unit {told})"
        remedy = f"probably {fits[0] if fits else 'none of mm, cm, m'}: write unit under [metadata]"
        return Check("unit", WARN, finding, remedy=remedy)
    metres = reach * METRES[rig.unit]
    if 0.1 < metres < 30:
        return Check("unit", PASS, finding)
    if SMALLEST < metres < LARGEST:
        finding += f" ({metres:.3g} m), an unusual size"
        remedy = f"if that is wrong, [metadata] unit is rather {' or '.join(fits)}" if fits else ""
        return Check("unit", WARN, finding, remedy=remedy)
    finding += f" ({metres:.3g} m), the size of no rig"
    remedy = (
        f"that fits {' or '.join(fits) or 'no unit'}, not {rig.unit}: "
        "correct [metadata] unit, or scale the translations"
    )
    return Check("unit", FAIL, finding, remedy=remedy)


def _reach(rig: CameraRig) -> float:
    """Mean distance of the cameras from where their axes meet; else from their own middle."""
    try:
        centre, _ = overlap(rig)
    except ValueError:
        centre = rig.centres.mean(0)
    return float((rig.centres - centre).norm(dim=-1).mean())


def check_ring(rig: CameraRig) -> Check:
    """Do the optical axes meet in front of the cameras, from different sides?

    Args:
        rig: V cameras.

    Returns:
        A failure if they look away from each other, a warning if one looks elsewhere or all stand
        on one side.
    """
    try:
        centre, width = overlap(rig)
    except ValueError as error:
        return Check("ring", FAIL, str(error))
    sides = F.normalize(centre - rig.centres, dim=-1)
    angle = torch.rad2deg(torch.acos((sides * rig.R[:, 2]).sum(-1).clamp(-1, 1)))
    apart = torch.rad2deg(torch.acos((sides @ sides.T).clamp(-1, 1))).amax()
    up = upward(rig)
    finding = (
        f"axes pass the common centre within {float(angle.max()):.0f} degrees, "
        f"views up to {float(apart):.0f} degrees apart, "
        f"{width:.4g} {rig.unit} seen across, up is about {up}"
    )
    if angle.max() > 40:
        remedy = "a camera looks elsewhere: are its rotation and translation world to camera?"
        return Check("ring", WARN, finding, remedy=remedy)
    if apart < 8:
        remedy = "views from nearly one side give little depth: use cameras farther apart"
        return Check("ring", WARN, finding, remedy=remedy)
    turn = "volumes turn about z: turn the world until z points up, or train with turn=false"
    return Check("ring", PASS, finding, remedy="" if up == "+z" else turn)


def upward(rig: CameraRig) -> str:
    """Which of the world's axes points up, by how the cameras are held: `+z`, `-y` and so on.

    Args:
        rig: V cameras.

    Returns:
        Sign and axis.
    """
    up = -rig.R[:, 1].mean(0)
    most = int(up.abs().argmax())
    return ("-" if up[most] < 0 else "+") + "xyz"[most]


def vertical_is_z(rig: CameraRig) -> bool:
    """Whether the world's z axis is the vertical, up or down, by how the cameras are held.

    Cameras that look straight down or up hold no side of their images up; there z is the vertical
    if it is what they look along.

    Args:
        rig: V cameras.

    Returns:
        False where a heading about z would be none.
    """
    ahead = rig.R[:, 2].mean(0)
    along_z = ahead[2].abs() > 0.8 * ahead.norm() and ahead.norm() > 0.8
    return bool(along_z) or upward(rig)[1] == "z"
