"""Solids: the only geometry of the synthetic world, the same for LiDAR and cameras.

A solid is a unit shape seen through an affine map, so that one intersection routine serves every size and tilt:

* ``BOX``: the cube [-1, 1]^3 whose +x, -x and both y faces may lean inwards with height (``taper`` front, back, side;
  taper 1 lets the face reach the centre line at the top);
* ``CYLINDER``: radius 1, z in [-1, 1], radius shrinking to 1 - taper at the top (taper 1 is a cone);
* ``SPHERE``: radius 1.

The body frame has its origin at the bottom centre, x forward, y left, z up, metres.
"""

from dataclasses import dataclass, field

import numpy as np

BOX, CYLINDER, SPHERE = 0, 1, 2

# Texture numbers; bevkd/datasets/synthetic/shading.py draws them.
PLAIN, FACADE, STRIPES, LEAVES, WINDOW_BAND, PANELS, RINGS, CABIN, GRIME = range(9)

# Material: (LiDAR reflectivity 0..1, probability that the laser finds no echo, mirror-like share of the image light).
MATERIALS = {
    "paint": (0.32, 0.01, 0.25),
    "dark_paint": (0.10, 0.06, 0.30),
    "glass": (0.06, 0.45, 0.50),
    "rubber": (0.05, 0.05, 0.02),
    "metal": (0.45, 0.02, 0.35),
    "cloth": (0.25, 0.01, 0.00),
    "skin": (0.40, 0.01, 0.05),
    "plastic": (0.35, 0.01, 0.10),
    "reflector": (0.95, 0.00, 0.30),
    "concrete": (0.30, 0.01, 0.02),
    "leaves": (0.35, 0.10, 0.00),
    "wood": (0.25, 0.01, 0.00),
}
MATERIAL_NAMES = tuple(MATERIALS)
MATERIAL_TABLE = np.array([MATERIALS[name] for name in MATERIAL_NAMES])

Vector = tuple[float, float, float]


@dataclass
class Body:
    """A growing list of solids in one body frame; ``size`` is (length x, width y, height z) of its annotated box."""

    size: Vector
    matrices: list[np.ndarray] = field(default_factory=list)  # [3, 4] body from unit shape
    kinds: list[int] = field(default_factory=list)
    tapers: list[Vector] = field(default_factory=list)
    colors: list[Vector] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)
    textures: list[int] = field(default_factory=list)

    def _add(self, kind: int, center: Vector, half: Vector, rotation: np.ndarray, taper: Vector, look: tuple) -> None:
        color, material, texture = look
        self.matrices.append(np.concatenate([rotation * np.array(half), np.array(center)[:, None]], axis=1))
        self.kinds.append(kind)
        self.tapers.append(taper)
        self.colors.append(tuple(color))
        self.materials.append(MATERIAL_NAMES.index(material))
        self.textures.append(texture)

    def box(
        self,
        center: Vector,
        size: Vector,
        color: Vector,
        material: str = "paint",
        texture: int = PLAIN,
        taper: Vector = (0.0, 0.0, 0.0),
        pitch: float = 0.0,
        yaw: float = 0.0,
    ) -> None:
        """Box of full ``size``; ``taper`` (front, back, side) in 0..1; ``pitch`` lifts the +x end, radians."""
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self._add(BOX, center, half, turn(yaw) @ lift(pitch), taper, (color, material, texture))

    def cylinder(
        self,
        center: Vector,
        radius: float,
        length: float,
        color: Vector,
        material: str = "paint",
        texture: int = PLAIN,
        taper: float = 0.0,
        axis: str = "z",
    ) -> None:
        """Cylinder or frustum along ``axis`` 'x', 'y' or 'z'; ``taper`` narrows its far end."""
        # Columns are where the unit x, y and z axes go; the unit z axis is the cylinder's.
        rotation = np.roll(np.eye(3), {"x": 1, "y": 2, "z": 0}[axis], axis=0)
        self._add(CYLINDER, center, (radius, radius, length / 2), rotation, (taper, 0, 0), (color, material, texture))

    def sphere(self, center: Vector, size: Vector, color: Vector, material: str = "skin", texture: int = PLAIN) -> None:
        """Ellipsoid of full ``size``."""
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self._add(SPHERE, center, half, np.eye(3), (0, 0, 0), (color, material, texture))


def turn(yaw: float) -> np.ndarray:
    """[3, 3] rotation about z, counter-clockwise."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def lift(pitch: float) -> np.ndarray:
    """[3, 3] rotation that raises the +x end by ``pitch`` radians."""
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[c, 0, -s], [0, 1.0, 0], [s, 0, c]])


@dataclass(frozen=True)
class SolidTable:
    """The solids of many bodies as flat arrays; solid ``i`` belongs to body ``owner[i]``; owners are ascending."""

    body_from_unit: np.ndarray  # [S, 3, 4] float64
    kind: np.ndarray  # [S] int32
    taper: np.ndarray  # [S, 3] float64
    color: np.ndarray  # [S, 3] float32, 0..1
    material: np.ndarray  # [S] int32
    texture: np.ndarray  # [S] int32
    half: np.ndarray  # [S, 3] float64, half extents in metres along the unit axes
    owner: np.ndarray  # [S] int32

    @classmethod
    def of(cls, bodies: list[Body]) -> "SolidTable":
        """Flatten ``bodies`` in their order."""

        def gather(name: str) -> list:
            return [value for body in bodies for value in getattr(body, name)]

        matrices = np.array(gather("matrices")).reshape(-1, 3, 4)
        return cls(
            body_from_unit=matrices,
            kind=np.array(gather("kinds"), np.int32),
            taper=np.array(gather("tapers"), np.float64).reshape(-1, 3),
            color=np.array(gather("colors"), np.float32).reshape(-1, 3),
            material=np.array(gather("materials"), np.int32),
            texture=np.array(gather("textures"), np.int32),
            half=np.linalg.norm(matrices[:, :, :3], axis=1),
            owner=np.repeat(np.arange(len(bodies), dtype=np.int32), [len(body.kinds) for body in bodies]),
        )

    def select(self, rows: np.ndarray) -> "SolidTable":
        """The rows ``rows`` (indices or mask), owners unchanged."""
        return SolidTable(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})
