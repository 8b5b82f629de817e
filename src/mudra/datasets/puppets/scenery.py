"""What stands behind the puppet: rooms, landscapes and patterns, drawn once per clip and slightly out of focus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mudra.datasets.puppets.shapes import light, mix, shade

RGB = tuple[int, int, int]

# Wall, second colour, accent: each set was put together by eye.
PALETTES: tuple[tuple[RGB, RGB, RGB], ...] = (
    ((236, 220, 200), (214, 176, 146), (196, 98, 78)),
    ((196, 216, 218), (142, 180, 188), (232, 152, 96)),
    ((214, 222, 196), (160, 184, 142), (226, 120, 92)),
    ((228, 206, 214), (196, 152, 172), (98, 112, 156)),
    ((200, 204, 226), (150, 156, 198), (244, 186, 104)),
    ((240, 226, 184), (226, 188, 122), (88, 136, 132)),
    ((178, 198, 190), (114, 148, 142), (238, 196, 128)),
    ((226, 200, 184), (190, 140, 124), (72, 116, 128)),
    ((96, 112, 142), (66, 78, 112), (244, 170, 110)),
    ((110, 96, 128), (78, 64, 98), (240, 190, 160)),
    ((84, 118, 118), (56, 88, 94), (246, 208, 150)),
    ((222, 224, 228), (184, 190, 200), (222, 104, 96)),
)


class Canvas:
    """A picture in units of its own width, 0 to 1 both ways."""

    def __init__(self, size: int, top: RGB, bottom: RGB) -> None:
        self.size = size
        self.image = gradient(size, top, bottom)
        self.draw = ImageDraw.Draw(self.image, "RGBA")

    def area(self, corners: list[tuple[float, float]], colour: tuple[int, ...]) -> None:
        self.draw.polygon([(x * self.size, y * self.size) for x, y in corners], fill=colour)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: tuple[int, ...], corner: float = 0.0
    ) -> None:
        edges = [x0 * self.size, y0 * self.size, x1 * self.size, y1 * self.size]
        if edges[2] - edges[0] >= 1 and edges[3] - edges[1] >= 1:
            self.draw.rounded_rectangle(edges, radius=corner * self.size, fill=colour)

    def disc(self, x: float, y: float, width: float, height: float, colour: tuple[int, ...]) -> None:
        s = self.size
        self.draw.ellipse([(x - width) * s, (y - height) * s, (x + width) * s, (y + height) * s], fill=colour)


def gradient(size: int, top: RGB, bottom: RGB) -> Image.Image:
    """A vertical run from one colour to another."""
    share = np.linspace(0, 1, size)[:, None, None]
    rows = np.array(top) * (1 - share) + np.array(bottom) * share
    return Image.fromarray(np.broadcast_to(rows.round().astype(np.uint8), (size, size, 3)).copy())


def draw_scenery(rng: np.random.Generator, size: int, kind: str | None = None) -> Image.Image:
    """A background of `size` x `size` pixels.

    Args:
        kind: one of KINDS; None draws one.
    """
    name = KINDS[int(rng.integers(len(KINDS)))]
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    canvas = Canvas(size, light(palette[0], 0.12), mix(palette[0], palette[1], 0.55))
    _KINDS[kind or name](canvas, rng, palette)
    soft = canvas.image.filter(ImageFilter.BoxBlur(canvas.size * 0.004))
    if rng.random() < 0.5:
        soft = soft.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return soft


def _studio(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """A plain backdrop with a large disc behind the head."""
    wall, second, accent = palette
    x, y, radius = 0.5 + rng.uniform(-0.06, 0.06), 0.36, rng.uniform(0.32, 0.42)
    canvas.disc(x, y, radius, radius, (*mix(accent, wall, 0.35), 255))
    canvas.disc(x, y, radius * 0.8, radius * 0.8, (*mix(accent, wall, 0.5), 255))
    canvas.area([(0, 0.88), (1, 0.82), (1, 1), (0, 1)], shade(second, 0.1))


def _window(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """A window with sky and hills, curtains and a sill with a plant."""
    wall, second, accent = palette
    left, top, wide, high = rng.uniform(0.02, 0.12), 0.06, 0.36, 0.50
    sky = ((150, 206, 236), (250, 206, 160), (186, 220, 240))[int(rng.integers(3))]
    canvas.box(left - 0.02, top - 0.02, left + wide + 0.02, top + high + 0.02, light(wall, 0.7))
    canvas.box(left, top, left + wide, top + high, sky)
    canvas.disc(left + wide * 0.7, top + 0.12, 0.05, 0.05, (255, 244, 214, 255))
    canvas.disc(left + wide * 0.3, top + 0.13, 0.07, 0.02, (255, 255, 255, 200))
    canvas.disc(left + wide * 0.42, top + 0.115, 0.045, 0.022, (255, 255, 255, 200))
    base = top + high
    hills = (
        (left, base - 0.14),
        (left + 0.12, base - 0.20),
        (left + 0.24, base - 0.12),
        (left + wide, base - 0.18),
    )
    canvas.area([*hills, (left + wide, base), (left, base)], (134, 178, 142))
    canvas.area(
        [
            (left, base - 0.06),
            (left + 0.2, base - 0.12),
            (left + wide, base - 0.05),
            (left + wide, base),
            (left, base),
        ],
        (96, 150, 118),
    )
    canvas.box(left + wide / 2 - 0.008, top, left + wide / 2 + 0.008, base, light(wall, 0.7))
    canvas.box(left, top + high * 0.45, left + wide, top + high * 0.45 + 0.014, light(wall, 0.7))
    for edge, way in ((left - 0.03, 1), (left + wide + 0.03, -1)):
        cloth = [
            (edge - way * 0.05, 0.0),
            (edge + way * 0.08, 0.0),
            (edge + way * 0.045, 0.35),
            (edge + way * 0.03, 0.68),
            (edge - way * 0.05, 0.68),
        ]
        canvas.area(cloth, mix(accent, wall, 0.25))
        canvas.area(
            [(edge - way * 0.02, 0.0), (edge + way * 0.01, 0.0), (edge, 0.68), (edge - way * 0.02, 0.68)],
            shade(mix(accent, wall, 0.25), 0.15),
        )
    canvas.box(left - 0.05, base + 0.02, left + wide + 0.05, base + 0.045, light(wall, 0.5))
    _plant(canvas, rng, 0.84, 0.80, 0.20)
    canvas.box(0, 0.90, 1, 1, shade(second, 0.25))


def _shelves(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """Shelves with books, a vase and a small plant."""
    wall, second, accent = palette
    wood = shade(mix(second, (160, 110, 70), 0.5), 0.1)
    for y in (0.20, 0.44, 0.68, 0.92):
        for start, stop in ((0.0, 0.36), (0.66, 1.0)):
            if rng.random() < 0.15:
                continue
            canvas.box(start, y, stop, y + 0.020, wood)
            canvas.box(start, y + 0.020, stop, y + 0.032, (*shade(wall, 0.35), 120))
            _row_of_books(canvas, rng, start + 0.02, stop - 0.04, y, (wall, second, accent))


def _row_of_books(
    canvas: Canvas, rng: np.random.Generator, x: float, stop: float, y: float, palette: tuple[RGB, RGB, RGB]
) -> None:
    wall, second, accent = palette
    hues = (
        accent,
        shade(accent, 0.3),
        mix(second, (70, 100, 140), 0.6),
        (238, 226, 204),
        (206, 160, 96),
        (110, 140, 116),
    )
    while x < stop - 0.03:
        if rng.random() < 0.14:
            vase = hues[int(rng.integers(len(hues)))]
            canvas.disc(x + 0.03, y - 0.035, 0.026, 0.035, vase)
            canvas.box(x + 0.02, y - 0.10, x + 0.04, y - 0.05, vase)
            x += 0.08
            continue
        wide, high = rng.uniform(0.016, 0.034), rng.uniform(0.09, 0.155)
        hue = mix(hues[int(rng.integers(len(hues)))], wall, 0.15)
        canvas.box(x, y - high, x + wide, y, hue)
        canvas.box(x, y - high * 0.8, x + wide, y - high * 0.72, light(hue, 0.35))
        x += wide + 0.003


def _wallpaper(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """Stripes, dots, diamonds or arches over a panelled wall."""
    wall, second, accent = palette
    ink = mix(wall, second, 0.55)
    style, count = int(rng.integers(4)), int(rng.integers(7, 11))
    step = 1 / count
    for i in range(count + 1):
        if style == 0:
            canvas.box(i * step, 0, i * step + step * 0.45, 1, ink)
            continue
        for j in range(count + 1):
            x, y = (i + 0.5 * (j % 2)) * step, j * step
            if style == 1:
                canvas.disc(x, y, step * 0.18, step * 0.18, ink)
            elif style == 2:
                canvas.area(
                    [(x, y - step * 0.4), (x + step * 0.26, y), (x, y + step * 0.4), (x - step * 0.26, y)],
                    ink,
                )
            else:
                canvas.disc(x, y, step * 0.46, step * 0.46, ink)
                canvas.disc(x, y + step * 0.08, step * 0.34, step * 0.34, mix(wall, accent, 0.16))
    canvas.box(0, 0.76, 1, 1, shade(second, 0.12))
    canvas.box(0, 0.75, 1, 0.775, light(second, 0.4))


def _lights(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """An evening out of focus: discs of light."""
    canvas.image.paste(gradient(canvas.size, (34, 34, 66), (92, 56, 84)))
    canvas.draw = ImageDraw.Draw(canvas.image, "RGBA")
    hues = ((255, 206, 128), (255, 150, 110), (250, 120, 150), (140, 190, 255), palette[2])
    for _ in range(26):
        x, y, radius = rng.uniform(0, 1), rng.uniform(0, 0.95), rng.uniform(0.02, 0.075)
        hue = hues[int(rng.integers(len(hues)))]
        canvas.disc(x, y, radius, radius, (*hue, int(rng.integers(40, 110))))
        canvas.disc(x, y, radius * 0.86, radius * 0.86, (*light(hue, 0.2), int(rng.integers(20, 70))))


def _hills(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """Layers of hills under a low sun."""
    skies = (
        ((120, 186, 226), (250, 236, 206)),
        ((250, 190, 150), (255, 232, 190)),
        ((150, 160, 210), (250, 206, 190)),
    )
    top, low = skies[int(rng.integers(3))]
    canvas.image.paste(gradient(canvas.size, top, low))
    canvas.draw = ImageDraw.Draw(canvas.image, "RGBA")
    canvas.disc(rng.uniform(0.1, 0.3), rng.uniform(0.14, 0.3), 0.075, 0.075, (255, 246, 216, 255))
    for x, y in zip(rng.uniform(0, 1, 3), rng.uniform(0.06, 0.24, 3), strict=True):
        canvas.disc(x, y, 0.11, 0.022, (255, 255, 255, 130))
        canvas.disc(x + 0.04, y - 0.015, 0.06, 0.024, (255, 255, 255, 130))
    ground = mix((86, 148, 116), palette[1], 0.25)
    for layer, y in enumerate((0.50, 0.62, 0.75, 0.88)):
        xs = np.linspace(-0.05, 1.05, 24)
        phase, wave = rng.uniform(0, 6), rng.uniform(4, 9)
        ridge = [(float(x), float(y + 0.045 * np.sin(wave * x + phase))) for x in xs]
        canvas.area(
            [*ridge, (1.05, 1.05), (-0.05, 1.05)], mix(low, shade(ground, 0.12 * layer), 0.45 + 0.18 * layer)
        )
        if layer == 2:
            for x in rng.uniform(0, 1, 6):
                _tree(canvas, float(x), y + 0.03, float(rng.uniform(0.06, 0.12)), shade(ground, 0.3))


def _tree(canvas: Canvas, x: float, y: float, high: float, hue: RGB) -> None:
    canvas.box(x - 0.006, y - high * 0.4, x + 0.006, y, (110, 82, 66))
    canvas.area(
        [(x - high * 0.32, y - high * 0.3), (x, y - high * 1.2), (x + high * 0.32, y - high * 0.3)], hue
    )
    canvas.area(
        [(x, y - high * 1.2), (x + high * 0.32, y - high * 0.3), (x, y - high * 0.3)], shade(hue, 0.2)
    )


def _city(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """A skyline at dusk with lit windows."""
    canvas.image.paste(gradient(canvas.size, (66, 72, 128), (248, 166, 132)))
    canvas.draw = ImageDraw.Draw(canvas.image, "RGBA")
    canvas.disc(rng.uniform(0.1, 0.3), 0.2, 0.06, 0.06, (255, 232, 206, 255))
    for layer, hue in enumerate(((128, 104, 148), (92, 76, 124), (58, 52, 92))):
        x = -0.02
        while x < 1.0:
            wide, top = rng.uniform(0.08, 0.16), 0.70 - rng.uniform(0.08, 0.40) + 0.13 * layer
            canvas.box(x, top, x + wide, 1, hue)
            for wx in np.arange(x + 0.014, x + wide - 0.018, 0.028):
                for wy in np.arange(top + 0.02, 0.96, 0.045):
                    if rng.random() < 0.16 + 0.12 * layer:
                        canvas.box(wx, wy, wx + 0.013, wy + 0.02, (255, 214, 140, 200))
            x += wide + rng.uniform(0.0, 0.02)


def _greenhouse(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """Large leaves around a light wall."""
    wall = palette[0]
    for x in np.arange(0.0, 1.0, 0.25):
        canvas.box(x, 0, x + 0.012, 1, light(wall, 0.6))
    canvas.box(0, 0.30, 1, 0.312, light(wall, 0.6))
    for x, size in ((0.06, 0.30), (0.93, 0.32), (0.20, 0.22), (0.80, 0.22)):
        _plant(canvas, rng, x, 0.98, size)


def _plant(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """A potted plant whose pot stands at (x, y)."""
    green = ((72, 138, 92), (96, 156, 98), (58, 118, 104))[int(rng.integers(3))]
    for turn in np.linspace(-1.15, 1.15, 8) + rng.uniform(-0.1, 0.1, 8):
        length = size * rng.uniform(1.2, 1.9)
        tip = (x + length * np.sin(turn), y - size * 0.45 - length * np.cos(turn))
        middle = (x + 0.55 * length * np.sin(turn), y - size * 0.45 - 0.55 * length * np.cos(turn))
        across = (0.17 * length * np.cos(turn), 0.17 * length * np.sin(turn))
        hue = shade(green, float(rng.uniform(0, 0.25)))
        root = (x, y - size * 0.4)
        canvas.area(
            [
                root,
                (middle[0] + across[0], middle[1] + across[1]),
                tip,
                (middle[0] - across[0], middle[1] - across[1]),
            ],
            hue,
        )
        canvas.area([root, (middle[0] + across[0], middle[1] + across[1]), tip], light(hue, 0.12))
    pot = mix((204, 118, 86), (240, 226, 210), float(rng.uniform(0, 0.6)))
    canvas.area(
        [
            (x - size * 0.34, y - size * 0.5),
            (x + size * 0.34, y - size * 0.5),
            (x + size * 0.24, y),
            (x - size * 0.24, y),
        ],
        pot,
    )
    canvas.box(x - size * 0.37, y - size * 0.56, x + size * 0.37, y - size * 0.44, light(pot, 0.15))


def _gallery(canvas: Canvas, rng: np.random.Generator, palette: tuple[RGB, RGB, RGB]) -> None:
    """Pictures on a wall and a lamp."""
    wall, second, accent = palette
    for x0, y0, x1, y1 in (
        (0.04, 0.08, 0.24, 0.34),
        (0.10, 0.42, 0.28, 0.56),
        (0.70, 0.06, 0.94, 0.24),
        (0.76, 0.32, 0.93, 0.56),
    ):
        canvas.box(x0 + 0.008, y0 + 0.012, x1 + 0.008, y1 + 0.012, (*shade(wall, 0.5), 90))
        canvas.box(x0, y0, x1, y1, shade(second, 0.4))
        canvas.box(x0 + 0.014, y0 + 0.014, x1 - 0.014, y1 - 0.014, (250, 246, 238))
        hue = mix(accent, (90, 130, 150), float(rng.uniform(0, 1)))
        canvas.box(x0 + 0.03, y0 + 0.03, x1 - 0.03, y1 - 0.03, light(hue, 0.45))
        canvas.disc((x0 + x1) / 2 + rng.uniform(-0.02, 0.02), (y0 + y1) / 2, 0.035, 0.035, hue)
        canvas.area(
            [(x0 + 0.03, y1 - 0.03), ((x0 + x1) / 2, (y0 + y1) / 2 + 0.02), (x1 - 0.03, y1 - 0.03)],
            shade(hue, 0.25),
        )
    canvas.box(0, 0.84, 1, 0.855, light(wall, 0.5))
    canvas.box(0, 0.855, 1, 1, shade(second, 0.15))


_KINDS: dict[str, Callable[[Canvas, np.random.Generator, tuple[RGB, RGB, RGB]], None]] = {
    "studio": _studio,
    "window": _window,
    "shelves": _shelves,
    "wallpaper": _wallpaper,
    "lights": _lights,
    "hills": _hills,
    "city": _city,
    "greenhouse": _greenhouse,
    "gallery": _gallery,
}
KINDS: tuple[str, ...] = tuple(_KINDS)
