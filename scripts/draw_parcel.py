#!/usr/bin/env python3
"""Draws one parcel of a run as SVG: every observation of an index, the smoothed series, the disturbances with their date
intervals, and a map of the disturbed pixels in the parcel's outline.

    scripts/draw_parcel.py OUT PARCEL_ID --index ndmi --method bfast_monitor --parcels parcels.gpkg --picture FILE.svg

Reads nothing but the tables of the run and the parcel layer. The same tables give the same picture.
"""

import argparse
import datetime
import math
import pathlib
import sys
from html import escape

import geopandas
import pyarrow.dataset

WIDTH, HEIGHT, MARGIN = 980, 360, 46
CHART = 600  # width of the chart; the map takes the rest
COLOURS = ["#c0392b", "#d35400", "#8e44ad", "#2471a3", "#117a65", "#7d6608"]


def day(value):
    return value.date() if isinstance(value, datetime.datetime) else value


def table(folder, **partition):
    return pyarrow.dataset.dataset(folder, format="parquet", partitioning=partition.get("partitioning")).to_table()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="output folder of a run")
    parser.add_argument("parcel")
    parser.add_argument("--index", required=True)
    parser.add_argument("--method", required=True, help="change method whose disturbances are drawn")
    parser.add_argument("--parcels", required=True, type=pathlib.Path, help="the parcel layer")
    parser.add_argument("--id", default="parcel_id", help="its id field")
    parser.add_argument("--picture", required=True, type=pathlib.Path)
    a = parser.parse_args()

    tables = a.out / "tables"
    rows = table(str(tables / "observations")).to_pylist()
    rows = [r for r in rows if r["parcel_id"] == a.parcel and r["index"] == a.index]
    if not rows:
        sys.exit(f"draw_parcel: found no observation of {a.index} for parcel {a.parcel} in {tables}, expected some")
    seen = sorted((day(r["acquired_at"]), r["mean"], r["clear_fraction"]) for r in rows if r["mean"] is not None)
    curve = [
        (r["date"], r["value"])
        for r in table(str(tables / "series.parquet")).to_pylist()
        if r["parcel_id"] == a.parcel and r["index"] == a.index and r["value"] is not None
    ]
    events = geopandas.read_parquet(tables / "disturbances.parquet")
    events = events[(events.parcel_id == a.parcel) & (events.method == a.method)].sort_values("event_id")
    layer = geopandas.read_file(a.parcels)
    outline = layer[layer[a.id].astype(str) == a.parcel].to_crs(4326).geometry
    if outline.empty:
        sys.exit(f"draw_parcel: found no parcel {a.parcel} in {a.parcels}, expected one (--id names the id field)")

    first, last = seen[0][0], seen[-1][0]
    values = [v for _, v, _ in seen]
    low, high = min(values), max(values)
    span_days, span = max((last - first).days, 1), max(high - low, 1e-9)

    def x(d):
        return MARGIN + (CHART - 2 * MARGIN) * (d - first).days / span_days

    def y(v):
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (v - low) / span

    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="22" font-size="14">{escape(a.parcel)}: {escape(a.index)} of every clear observation, '
        f"{first} to {last}; disturbances by {escape(a.method)}</text>",
    ]
    for k, event in enumerate(events.itertuples()):
        colour = COLOURS[k % len(COLOURS)]
        left, right = x(day(event.date_lower)), x(day(event.date_upper))
        svg.append(
            f'<rect x="{left:.1f}" y="{MARGIN}" width="{max(right - left, 1):.1f}" height="{HEIGHT - 2 * MARGIN}" '
            f'fill="{colour}" fill-opacity="0.15"><title>{escape(event.event_id)}</title></rect>'
        )
    for year in range(first.year, last.year + 2):
        d = datetime.date(year, 1, 1)
        if first <= d <= last:
            svg.append(f'<path d="M{x(d):.1f} {MARGIN}V{HEIGHT - MARGIN}" stroke="#ddd"/>')
            svg.append(f'<text x="{x(d) + 3:.1f}" y="{HEIGHT - MARGIN + 14}">{year}</text>')
    for v in (low, 0.5 * (low + high), high):
        svg.append(f'<path d="M{MARGIN} {y(v):.1f}H{CHART - MARGIN}" stroke="#eee"/>')
        svg.append(f'<text x="4" y="{y(v) + 4:.1f}">{v:.2f}</text>')
    if curve:
        points = " ".join(f"{x(d):.1f},{y(v):.1f}" for d, v in curve if first <= d <= last)
        svg.append(f'<polyline points="{points}" fill="none" stroke="#999"/>')
    for d, v, clear in seen:
        svg.append(
            f'<circle cx="{x(d):.1f}" cy="{y(v):.1f}" r="3" fill="#1e8449" fill-opacity="{0.25 + 0.75 * clear:.2f}">'
            f"<title>{d}: {v:.3f}, {100 * clear:.0f} % clear</title></circle>"
        )

    # The map: degrees to pixels with the cosine of the latitude, good for a parcel.
    west, south, east, north = outline.total_bounds
    squeeze = math.cos(math.radians((south + north) / 2))
    room = WIDTH - CHART - MARGIN, HEIGHT - 2 * MARGIN
    scale = min(room[0] / ((east - west) * squeeze), room[1] / (north - south))

    def path(geometry):
        parts = []
        for polygon in getattr(geometry, "geoms", [geometry]):
            for ring in [polygon.exterior, *polygon.interiors]:
                xy = [
                    f"{CHART + (lon - west) * squeeze * scale:.1f} {MARGIN + (north - lat) * scale:.1f}"
                    for lon, lat, *_ in ring.coords
                ]
                parts.append("M" + "L".join(xy) + "Z")
        return "".join(parts)

    for shape in outline:
        svg.append(f'<path d="{path(shape)}" fill="#eaf5ea" stroke="#145a32" fill-rule="evenodd"/>')
    metres = 100
    length = metres / 111_320 * scale
    for k, event in enumerate(events.itertuples()):
        colour = COLOURS[k % len(COLOURS)]
        told = f"{event.event_id}: {event.area_ha:.2f} ha, {event.date_lower} to {event.date_upper}"
        svg.append(
            f'<path d="{path(event.geometry)}" fill="{colour}" fill-opacity="0.6" fill-rule="evenodd">'
            f"<title>{escape(told)}</title></path>"
        )
    svg.append(
        f'<path d="M{CHART} {HEIGHT - 20}h{length:.1f}" stroke="black" stroke-width="2"/>'
        f'<text x="{CHART}" y="{HEIGHT - 26}">{metres} m, north up</text></svg>'
    )
    a.picture.parent.mkdir(parents=True, exist_ok=True)
    a.picture.write_text("\n".join(svg) + "\n", encoding="utf-8")
    print(f"{a.picture}: {len(seen)} observations, {len(events)} disturbances")


if __name__ == "__main__":
    main()
