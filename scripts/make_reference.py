#!/usr/bin/env python3
"""Writes testdata/reference/coverage.json and geodesic_area.json with independent software.

    pip install exactextract==0.3.0 geographiclib==2.1 numpy shapely==2.2.0
    python3 scripts/make_reference.py [--compare DIR COUNT SEED]

Everything is seeded, so the files come out the same. With --compare, writes COUNT random valid polygons on one grid with
exactextract's results to DIR/compare.json instead, for a large one-off comparison.
"""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from geographiclib.geodesic import Geodesic
from shapely.geometry import MultiPolygon, Polygon, box, mapping

OUT = Path(__file__).resolve().parent.parent / "testdata" / "reference"
X0, Y0 = 500_000.0, 4_700_000.0
NODATA = -1.0


def make_grid(rows, cols, px=10.0, py=10.0, x_min=X0, y_max=Y0):
    return {"crs": "EPSG:32652", "x_min": x_min, "y_max": y_max, "pixel_x_m": px, "pixel_y_m": py, "rows": rows, "cols": cols}


def raster(grid):
    """(row * 7919 + col * 104729) % 1000; every value that is a multiple of 7 is nodata."""
    row, col = np.mgrid[0 : grid["rows"], 0 : grid["cols"]]
    value = ((row * 7919 + col * 104729) % 1000).astype(float)
    value[value % 7 == 0] = NODATA
    return value


def source(grid, array):
    x_max = grid["x_min"] + grid["cols"] * grid["pixel_x_m"]
    y_min = grid["y_max"] - grid["rows"] * grid["pixel_y_m"]
    return NumPyRasterSource(array, grid["x_min"], y_min, x_max, grid["y_max"], nodata=NODATA)


def extract(grid, polygons):
    """exactextract's coverage list (of all pixels) and statistics (of pixels with a value) per polygon."""
    features = [{"type": "Feature", "id": i, "properties": {}, "geometry": mapping(p)} for i, p in enumerate(polygons)]
    stats = ["count", "mean", "stdev", "min", "max", "sum"]
    values, ones = source(grid, raster(grid)), source(grid, np.ones((grid["rows"], grid["cols"])))
    results = []
    for feature in features:
        try:
            v = exact_extract(values, feature, stats)[0]["properties"]
            c = exact_extract(ones, feature, ["cell_id", "coverage"])[0]["properties"]
        except RuntimeError as e:  # "Never get here."
            print(f"exactextract fails on {feature['id']}: {e}", file=sys.stderr)
            results.append(None)
            continue
        pairs = sorted((int(i), float(f)) for i, f in zip(c["cell_id"], c["coverage"]) if f > 0)
        stats = {k: (None if x is None or not math.isfinite(x) else float(x)) for k, x in v.items()}
        results.append((pairs, stats) if agrees_with_geos(grid, polygons[feature["id"]], pairs) else None)
    return results


def agrees_with_geos(grid, polygon, pairs):
    """exactextract 0.3.0 is wrong on some polygons along grid lines: fractions of 2.5, interior pixels left out."""
    cell = np.array([i for i, _ in pairs], dtype=int)
    row, col = np.divmod(cell, grid["cols"])
    x = grid["x_min"] + col * grid["pixel_x_m"]
    y = grid["y_max"] - row * grid["pixel_y_m"]
    boxes = shapely.box(x, y - grid["pixel_y_m"], x + grid["pixel_x_m"], y)
    shapely.prepare(polygon)
    inside = shapely.contains_properly(polygon, boxes)
    pixel_area = grid["pixel_x_m"] * grid["pixel_y_m"]
    expected = np.ones(len(pairs))
    expected[~inside] = shapely.area(shapely.intersection(polygon, boxes[~inside])) / pixel_area
    found = np.array([f for _, f in pairs])
    y_min, x_max = grid["y_max"] - grid["rows"] * grid["pixel_y_m"], grid["x_min"] + grid["cols"] * grid["pixel_x_m"]
    clipped = polygon.intersection(box(grid["x_min"], y_min, x_max, grid["y_max"])).area / pixel_area
    ok = np.all(np.abs(found - expected) < 1e-6) and abs(found.sum() - clipped) < 1e-6 * max(1, clipped)
    if not ok:
        print(f"exactextract contradicts GEOS: sum {found.sum()}, expected {clipped}: {polygon.wkt[:200]}", file=sys.stderr)
    return bool(ok)


def rounded(geometry, digits=4):
    """Coordinates as they will stand in the file, so that both sides read the same numbers."""
    return shapely.transform(geometry, lambda xy: np.round(xy, digits))


def star(rng, cx, cy, radius, n, depth=0.5, stretch=1.0):
    points = []
    for i in range(n):
        r = radius * (1 - depth * rng.random())
        a = 2 * math.pi * i / n
        points.append((cx + stretch * r * math.cos(a), cy + r * math.sin(a)))
    return Polygon(points)


def coordinates(geometry):
    parts = geometry.geoms if isinstance(geometry, MultiPolygon) else [geometry]
    return [[[list(xy) for xy in ring.coords] for ring in [p.exterior, *p.interiors]] for p in parts]


def px(*points):
    """Pixel coordinates (col, row) on the 10 m grid to CRS coordinates."""
    return [(X0 + 10 * c, Y0 - 10 * r) for c, r in points]


def nasty():
    """Hand-made polygons on a grid of 10 m pixels, in pixel coordinates (column, row)."""
    P = lambda *points, holes=(): Polygon(px(*points), [px(*h) for h in holes])
    square = lambda c, r, s: ((c, r), (c + s, r), (c + s, r + s), (c, r + s))
    ring_with_hole = P(*square(1, 1, 8), holes=[square(2.5, 2.5, 5)])
    yield "one whole pixel", P(*square(3, 4, 1))
    yield "block on grid lines", P((2, 2), (7, 2), (7, 5), (2, 5))
    yield "inside one pixel", P((3.2, 3.3), (3.7, 3.4), (3.5, 3.9))
    yield "inside one pixel, touching its sides", P((3, 3.5), (3.5, 3), (4, 3.5), (3.5, 4))
    yield "half pixels all round", P(*square(2.5, 2.5, 4))
    yield "vertices on pixel corners", P((2, 5), (5, 2), (8, 5), (5, 8))
    yield "diagonal through pixel corners", P((1, 1), (9, 9), (1, 9))
    yield "L on grid lines", P((1, 1), (3, 1), (3, 6), (8, 6), (8, 8), (1, 8))
    yield "thin vertical sliver within a column", P((4.2, 0.5), (4.201, 0.5), (4.201, 9.5), (4.2, 9.5))
    yield "thin horizontal sliver along a grid line", P((0.5, 4), (9.5, 4), (9.5, 4.003), (0.5, 4.003))
    yield "sliver across a grid line", P((0.5, 3.999), (9.5, 3.999), (9.5, 4.002), (0.5, 4.002))
    yield "diagonal sliver", P((0.3, 0.2), (9.7, 9.4), (9.69, 9.41))
    yield "needle to a corner", P((0, 0), (9, 4), (9, 4.05))
    yield "hole on grid lines", P(*square(1, 1, 7), holes=[square(3, 3, 2)])
    yield "hole inside one pixel", P(*square(1.5, 1.5, 5), holes=[square(3.25, 3.25, 0.5)])
    yield "hole that is one pixel", P(*square(1.5, 1.5, 5), holes=[square(3, 3, 1)])
    yield "holes that touch in a point", P(*square(1, 1, 8), holes=[square(2, 2, 2.5), square(4.5, 4.5, 2.5)])
    yield "hole that touches the exterior", P(*square(1, 1, 8), holes=[((1, 4), (4, 3), (4, 6))])
    yield "island in a hole", MultiPolygon([ring_with_hole, P(*square(4.25, 4.25, 1.5))])
    yield "island with a hole in a hole", MultiPolygon(
        [ring_with_hole, P(*square(3.5, 3.5, 3), holes=[square(4.5, 4.5, 1)])]
    )
    yield "island that touches its hole", MultiPolygon([ring_with_hole, P((2.5, 5), (5, 3.5), (5, 6.5))])
    yield "parts that touch in a corner", MultiPolygon([P(*square(1.5, 1.5, 2)), P(*square(3.5, 3.5, 2))])
    yield "parts in one pixel", MultiPolygon([P(*square(3.1, 3.1, 0.3)), P(*square(3.6, 3.6, 0.3))])
    yield "parts in the corners of the grid", MultiPolygon([P(*square(0, 0, 0.5)), P(*square(9.5, 9.5, 0.5))])
    yield "off the left side", P((-5, 2.5), (4.5, 1), (3, 7.2))
    yield "off the right side", P((14, 2.5), (5.5, 1), (7, 7.2))
    yield "off the top", P((2.5, -6), (8.2, 3.3), (1, 4.4))
    yield "off the bottom", P((2.5, 16), (8.2, 6.3), (1, 5.4))
    yield "off every side", P((-3, 5), (5, -3), (13, 5), (5, 13))
    yield "around the whole grid", P(*square(-100, -100, 250))
    yield "around the whole grid with a hole in it", P(*square(-100, -100, 250), holes=[((2, 3), (7.5, 4), (4, 8))])
    yield "on the outline of the grid", P(*square(0, 0, 10))
    yield "C open to the left, outside", P((-4, 1), (6, 1), (6, 9), (-4, 9), (-4, 6.5), (3, 6.5), (3, 3.5), (-4, 3.5))
    yield "C open to the right, outside", P((13, 1), (4, 1), (4, 9), (13, 9), (13, 6.5), (7, 6.5), (7, 3.5), (13, 3.5))
    yield "comb", P((0.5, 9), *[(0.5 + 0.4 * i, 1.3 if i % 2 else 8.2) for i in range(22)], (9.4, 9))
    yield "repeated vertices", P((2, 2), (2, 2), (6.5, 2), (6.5, 2), (6.5, 7), (6.5, 7), (2, 7))
    yield "vertices along straight edges", P(*[(1 + i / 4, 2) for i in range(25)], *[(7 - i / 4, 6.5) for i in range(25)])
    yield "edge a hair beside a grid line", P((2.00001, 2.00001), (6.99999, 2.00001), (6.99999, 5), (2.00001, 5))


def coverage_cases():
    small = make_grid(10, 10)
    cases = [(name, small, rounded(g)) for name, g in nasty()]
    rng = random.Random(20230715)
    oblong = make_grid(12, 9, px=7.5, py=20.0, x_min=X0 + 3.75, y_max=Y0 + 0.25)
    decimal = make_grid(14, 14, px=0.1, py=0.3, x_min=12.3, y_max=45.6)
    for i in range(120):
        grid = [small, small, oblong, decimal][i % 4]
        px_m, py_m = grid["pixel_x_m"], grid["pixel_y_m"]
        cx = grid["x_min"] + px_m * grid["cols"] * rng.uniform(-0.1, 1.1)
        cy = grid["y_max"] - py_m * grid["rows"] * rng.uniform(-0.1, 1.1)
        radius = py_m * math.exp(rng.uniform(math.log(0.2), math.log(8)))
        shape = star(rng, cx, cy, radius, rng.randint(3, 24), rng.uniform(0, 0.9), px_m / py_m * rng.choice([1, 1, 0.05]))
        kind = i // 4 % 5
        if kind == 1:
            shape = shape.difference(star(rng, cx, cy, radius * 0.5, rng.randint(3, 9)))
        elif kind == 2:
            shape = shape.union(star(rng, cx + 2 * radius * px_m / py_m, cy, radius, rng.randint(3, 9)))
        elif kind == 3:  # vertices on pixel corners
            corner = lambda xy: np.stack(
                [
                    grid["x_min"] + np.round((xy[:, 0] - grid["x_min"]) / px_m) * px_m,
                    grid["y_max"] + np.round((xy[:, 1] - grid["y_max"]) / py_m) * py_m,
                ],
                axis=1,
            )
            shape = shapely.transform(shape, corner)
        shape = rounded(shape)
        if shape.is_valid and shape.geom_type in ("Polygon", "MultiPolygon") and shape.area > 0:
            cases.append((f"random {i}", grid, shape))
    wide = make_grid(80, 90)
    for i in range(3):
        cases.append((f"star of 2000 vertices {i}", wide, rounded(star(rng, X0 + 450, Y0 - 400, 420, 2000, 0.9 - 0.3 * i), 2)))
    return cases


def write_coverage():
    out = {
        "how": "exactextract 0.3.0 (Python), scripts/make_reference.py",
        "values": "(row * 7919 + col * 104729) % 1000, nodata where a multiple of 7; statistics are over pixels with a value",
        "coverage": "[row * cols + col, fraction] of every touched pixel; absent for the large polygons",
        "cases": [],
    }
    for name, grid, shape in coverage_cases():
        if not shape.is_valid:
            raise SystemExit(f"{name} is not valid: {shapely.is_valid_reason(shape)}")
        (result,) = extract(grid, [shape])
        if result is None:
            print(f"left out: {name}", file=sys.stderr)
            continue
        pairs, stats = result
        case = {"name": name, "grid": grid, "polygon": coordinates(shape), "stats": stats}
        case["coverage_sum"] = sum(f for _, f in pairs)
        if len(pairs) <= 150:
            case["coverage"] = [[i, round(f, 9)] for i, f in pairs]
        out["cases"].append(case)
    write(OUT / "coverage.json", out, "cases")


def write_areas():
    rng = random.Random(2013)
    out = {
        "how": "geographiclib 2.1 (Python), Geodesic.WGS84.Polygon, scripts/make_reference.py",
        "units": "polygon: rings of [longitude, latitude] in degrees, the first is the exterior; square metres; metres",
        "cases": [],
    }
    for i in range(20):
        lon, lat = rng.uniform(73, 135), rng.uniform(18, 53)
        if i == 17:
            lon, lat = 180.0, -16.5  # across the antimeridian
        if i == 18:
            lon, lat = -0.01, 0.0  # across the prime meridian and the equator
        size = 10 ** rng.uniform(-4, 0.5)
        shape = star(rng, 0, 0, size, rng.randint(3, 60), 0.6)
        if i % 4 == 3:
            shape = Polygon(shape.exterior.coords, [star(rng, 0, 0, size * 0.3, 7, 0.5).exterior.coords])
        rings = []
        area = perimeter = 0.0
        for k, ring in enumerate([shape.exterior, *shape.interiors]):
            points = [[round((lon + x + 180) % 360 - 180, 9), round(lat + y, 9)] for x, y in ring.coords]
            if i % 2:
                points.reverse()
            measured = Geodesic.WGS84.Polygon()
            for x, y in points[:-1]:
                measured.AddPoint(y, x)
            _, length, signed = measured.Compute(False, True)
            area += abs(signed) if k == 0 else -abs(signed)
            perimeter += length
            rings.append(points)
        out["cases"].append({"polygon": rings, "area_m2": area, "perimeter_m": perimeter})
    write(OUT / "geodesic_area.json", out, "cases")


def write(path, out, key):
    """JSON with one case a line."""
    head = {k: v for k, v in out.items() if k != key}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in out[key])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head, indent=1)[:-2] + f',\n "{key}": [\n{lines}\n]\n}}\n')


def compare(folder, count, seed):
    rng = random.Random(seed)
    grid = make_grid(60, 50, px=10.0, py=12.5)
    shapes = []
    while len(shapes) < count:
        cx, cy = X0 + 500 * rng.uniform(-0.1, 1.1), Y0 - 750 * rng.uniform(-0.1, 1.1)
        radius = math.exp(rng.uniform(math.log(0.5), math.log(300)))
        shape = star(rng, cx, cy, radius, rng.randint(3, 60), rng.uniform(0, 0.95), rng.choice([1, 1, 1, 0.01]))
        if rng.random() < 0.3:
            shape = shape.difference(star(rng, cx, cy, radius * 0.5, rng.randint(3, 9)))
        if rng.random() < 0.3:
            shape = shape.union(star(rng, cx + 1.5 * radius, cy, radius, rng.randint(3, 9)))
        if rng.random() < 0.2:
            shape = shapely.transform(shape, lambda xy: np.round(xy / 2.5) * 2.5)
        shape = rounded(shape)
        if shape.is_valid and shape.geom_type in ("Polygon", "MultiPolygon") and shape.area > 0:
            shapes.append(shape)
    out = {"how": "one-off", "cases": []}
    for i, (shape, result) in enumerate(zip(shapes, extract(grid, shapes))):
        if result is None:
            continue
        pairs, stats = result
        case = {"name": f"{i}", "grid": grid, "polygon": coordinates(shape), "stats": stats}
        case["coverage_sum"] = sum(f for _, f in pairs)
        case["coverage"] = pairs
        out["cases"].append(case)
    write(Path(folder) / "compare.json", out, "cases")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compare"]:
        compare(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        write_coverage()
        write_areas()
