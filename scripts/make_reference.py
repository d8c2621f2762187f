#!/usr/bin/env python3
"""Writes testdata/reference/coverage.json and geodesic_area.json with independent software.

    pip install exactextract==0.3.0 geographiclib==2.1 numpy shapely==2.2.0
    python3 scripts/make_reference.py [--compare DIR COUNT SEED]

Everything is seeded, so the files come out the same. With --compare, writes COUNT random valid polygons of many kinds with
exactextract's results to DIR/compare.json instead, for the large comparison of scripts/test.sh. Where exactextract gives no
result, one that GEOS contradicts, or crashes, GEOS's coverage and NumPy's statistics of it stand in its place, so that no
polygon that is hard is left out.
"""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import shapely
import shapely.affinity
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


def extract(grid, polygons, checked=True):
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
        results.append((pairs, stats) if not checked or agrees_with_geos(grid, polygons[feature["id"]], pairs) else None)
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


def by_geos(grid, polygon):
    """Coverage by intersection with every pixel in view, and its statistics."""
    x0, y0, x1, y1 = polygon.bounds
    c0, c1 = [int(np.clip((x - grid["x_min"]) // grid["pixel_x_m"], 0, grid["cols"] - 1)) for x in (x0, x1)]
    r0, r1 = [int(np.clip((grid["y_max"] - y) // grid["pixel_y_m"], 0, grid["rows"] - 1)) for y in (y1, y0)]
    row, col = [a.ravel() for a in np.mgrid[r0 : r1 + 1, c0 : c1 + 1]]
    x, y = grid["x_min"] + col * grid["pixel_x_m"], grid["y_max"] - row * grid["pixel_y_m"]
    boxes = shapely.box(x, y - grid["pixel_y_m"], x + grid["pixel_x_m"], y)
    fraction = shapely.area(shapely.intersection(polygon, boxes)) / (grid["pixel_x_m"] * grid["pixel_y_m"])
    touched = fraction > 0
    row, col, w = row[touched], col[touched], fraction[touched]
    pairs = list(zip((row * grid["cols"] + col).tolist(), w.tolist()))
    v = raster(grid)[row, col]
    v, w = v[v != NODATA], w[v != NODATA]
    stats = {"count": float(w.sum()), "sum": float((w * v).sum()), "mean": None, "stdev": None, "min": None, "max": None}
    if len(v):
        mean = float((w * v).sum() / w.sum())
        stats |= {"mean": mean, "stdev": math.sqrt((w * (v - mean) ** 2).sum() / w.sum()), "min": float(v.min()), "max": float(v.max())}
    return pairs, stats


def on_outline(grid, polygon):
    x, y = shapely.get_coordinates(polygon).T
    x_max, y_min = grid["x_min"] + grid["cols"] * grid["pixel_x_m"], grid["y_max"] - grid["rows"] * grid["pixel_y_m"]
    return bool(np.any((x == grid["x_min"]) | (x == x_max) | (y == y_min) | (y == grid["y_max"])))


def coastline(rng, cx, cy, radius, levels):
    """A closed line of 7 * 2**levels vertices, each edge broken in its middle again and again; never simplified."""
    a = np.arange(7) * math.tau / 7
    xy = np.stack([cx + radius * np.cos(a), cy + radius * np.sin(a)], axis=1)
    noise = np.random.default_rng(rng.randrange(1 << 32))
    for _ in range(levels):
        ahead = np.roll(xy, -1, axis=0)
        edge = ahead - xy
        side = np.stack([-edge[:, 1], edge[:, 0]], axis=1)
        middle = xy + 0.5 * edge + side * noise.uniform(-0.14, 0.14, (len(xy), 1))
        xy = np.stack([xy, middle], axis=1).reshape(-1, 2)
    return Polygon(xy)


def random_shape(rng, kind, grid):
    """One polygon, perhaps an invalid one. Coordinates are a multiple of a tenth of a millimetre."""
    px_m, py_m = grid["pixel_x_m"], grid["pixel_y_m"]
    west, north = grid["x_min"], grid["y_max"]
    cx = west + px_m * grid["cols"] * rng.uniform(-0.05, 1.05)
    cy = north - py_m * grid["rows"] * rng.uniform(-0.05, 1.05)
    radius = math.exp(rng.uniform(math.log(0.5), math.log(200)))
    on_grid = lambda g, step=1.0: shapely.transform(
        g, lambda xy: np.stack([west + np.round((xy[:, 0] - west) / px_m * step) * px_m / step,
                                north - np.round((north - xy[:, 1]) / py_m * step) * py_m / step], axis=1))
    if kind == "star":
        return star(rng, cx, cy, radius, rng.randint(3, 60), rng.uniform(0, 0.95))
    if kind == "sliver":
        length, width, turn = rng.uniform(5, 300), 10 ** rng.uniform(-2, 0.3), rng.choice([0, 90, rng.uniform(0, 180)])
        return shapely.affinity.rotate(box(cx, cy, cx + length, cy + width), turn, origin=(cx, cy))
    if kind == "on grid lines":
        boxes = []
        for _ in range(rng.randint(1, 6)):
            c, r = round((cx - west) / px_m) + rng.randint(-6, 6), round((north - cy) / py_m) + rng.randint(-6, 6)
            w, h = rng.randint(1, 7), rng.randint(1, 7)
            boxes.append(box(west + c * px_m, north - (r + h) * py_m, west + (c + w) * px_m, north - r * py_m))
        shape = shapely.union_all(boxes[: len(boxes) // 2 + 1])
        return shape.difference(shapely.union_all(boxes[len(boxes) // 2 + 1 :])) if rng.random() < 0.5 else shape
    if kind == "corners":
        return on_grid(star(rng, cx, cy, max(radius, 15), rng.randint(3, 14), rng.uniform(0, 0.9)), rng.choice([1.0, 1.0, 2.0]))
    if kind == "one pixel":
        c, r = rng.randrange(grid["cols"]), rng.randrange(grid["rows"])
        x, y = west + (c + rng.uniform(0.3, 0.7)) * px_m, north - (r + rng.uniform(0.3, 0.7)) * py_m
        return star(rng, x, y, rng.uniform(0.05, 0.3) * px_m, rng.randint(3, 12), 0.6)
    if kind == "holes in holes":
        shape, r = None, max(radius, 8)
        for level in range(rng.randint(2, 5)):
            ring = star(rng, cx, cy, r, rng.randint(5, 30), 0.2)
            shape = ring if shape is None else (shape.difference(ring) if level % 2 else shape.union(ring))
            r *= rng.uniform(0.55, 0.75)
        return shape
    if kind == "touching":
        r, n = max(radius, 3), rng.randint(4, 12)
        one = star(rng, cx, cy, r, n, 0.4)
        x, y = one.exterior.coords[0]
        other = star(rng, x + r, y, r, n, 0.0)  # its westernmost vertex is set on the first vertex of the other
        coords = [(x, y) if abs(px - x) < 1e-6 and abs(py - y) < 1e-6 else (max(px, x + 0.01), py) for px, py in other.exterior.coords]
        if rng.random() < 0.5:
            return MultiPolygon([one, Polygon(coords)])
        hole = [(x, y), (x - 0.4 * r, y + 0.05 * r), (x - 0.4 * r, y - 0.05 * r)]  # a hole that touches the outline
        return Polygon(one.exterior.coords, [hole])
    if kind == "parts":
        shape = star(rng, cx, cy, radius, rng.randint(3, 30), rng.uniform(0, 0.9))
        for _ in range(rng.randint(1, 4)):
            part = star(rng, cx + radius * rng.uniform(-3, 3), cy + radius * rng.uniform(-3, 3), radius, rng.randint(3, 20), 0.5)
            shape = shape.union(part) if rng.random() < 0.7 else shape.difference(part)
        return shape
    raise ValueError(kind)


KINDS = ["star", "sliver", "on grid lines", "corners", "one pixel", "holes in holes", "touching", "parts"]


def compare(folder, count, seed):
    rng = random.Random(seed)
    grids = [make_grid(60, 50, px=10.0, py=12.5), make_grid(70, 64)]
    out, from_geos = {"how": "for a comparison, not kept", "cases": []}, 0
    for g, grid in enumerate(grids):
        shapes = []
        wanted = count // 2 + (count % 2 if g == 0 else 0)
        while len(shapes) < wanted:
            kind = KINDS[len(shapes) % len(KINDS)]
            shape = rounded(random_shape(rng, kind, grid))
            inside = shape.is_valid and shape.intersects(box(X0, Y0 - 700, X0 + 500, Y0))
            if inside and shape.geom_type in ("Polygon", "MultiPolygon") and shape.area > 0:
                shapes.append((kind, shape))
        # exactextract 0.3.0 ends the whole process on some parts that end on the outline of the grid.
        bearable = [i for i, (_, s) in enumerate(shapes) if not on_outline(grid, s)]
        results = dict(zip(bearable, extract(grid, [shapes[i][1] for i in bearable])))
        for i, (kind, shape) in enumerate(shapes):
            result = results.get(i)
            from_geos += result is None
            pairs, stats = result or by_geos(grid, shape)
            case = {"name": f"{kind} {len(out['cases'])}", "grid": grid, "polygon": coordinates(shape), "stats": stats}
            case["coverage_sum"] = sum(f for _, f in pairs)
            case["coverage"] = [[i, round(f, 9)] for i, f in pairs]
            out["cases"].append(case)
    wide = make_grid(90, 90)
    for i in range(3):
        shape = None
        while shape is None or not shape.is_valid:
            shape = rounded(coastline(rng, X0 + 450, Y0 - 450, 380 + 60 * i, 14))
        pairs, stats = extract(wide, [shape], checked=False)[0]
        case = {"name": f"coastline of {len(shape.exterior.coords) - 1} vertices", "grid": wide, "stats": stats}
        out["cases"].append(case | {"polygon": coordinates(shape), "coverage_sum": sum(f for _, f in pairs), "coverage": pairs})
    if len(out["cases"]) < count:
        raise SystemExit(f"made {len(out['cases'])} of {count} polygons")
    write(Path(folder) / "compare.json", out, "cases")
    print(f"{len(out['cases'])} polygons, {from_geos} of them by GEOS because exactextract errs, fails or would crash")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compare"]:
        compare(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        write_coverage()
        write_areas()
