"""Units of length: the words that calibration tools and people use, and their metres."""

from __future__ import annotations

METRES = {"um": 1e-6, "mm": 1e-3, "cm": 1e-2, "dm": 1e-1, "m": 1.0, "in": 0.0254, "ft": 0.3048}
_SPELLED = {
    "um": ("um", "µm", "μm", "micron", "micrometer", "micrometre"),
    "mm": ("mm", "millimeter", "millimetre"),
    "cm": ("cm", "centimeter", "centimetre"),
    "dm": ("dm", "decimeter", "decimetre"),
    "m": ("m", "meter", "metre"),
    "in": ("in", "inch", "inche", '"'),
    "ft": ("ft", "foot", "feet"),
    "unknown": ("", "unknown", "none", "arbitrary", "unitles"),
}
_MEANT = {word: unit for unit, words in _SPELLED.items() for word in words}


def unit_named(word: str) -> str:
    """The unit that a word means.

    Args:
        word: as a file spells it: `millimeters`, `Metres`, `inch`.

    Returns:
        A key of `METRES`, or "unknown"; a word that no unit has stays as it is.
    """
    plain = word.strip().lower()
    return _MEANT.get(plain) or _MEANT.get(plain.removesuffix("s")) or word.strip()
