#!/usr/bin/env python3
"""Row by row difference of the tables of two runs.

  compare_runs.py A B [--tolerance 0] [--limit 20]

A and B are output folders. Rows are matched by their key; floats must be equal to the last bit unless --tolerance gives
a relative difference that is let pass. Prints rows added (+), removed (-) and changed (~) with old and new values.
Exit code 0 if the tables are the same, 1 if they differ, 2 if there is nothing to compare or
a file cannot be read.
"""
import argparse
import glob
import math
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

KEYS = {"observations": ["parcel_id", "index", "acquired_at", "scene_id"], "series": ["parcel_id", "index", "date"],
        "disturbances": ["parcel_id", "event_id"], "stocks": ["parcel_id", "epoch", "pool"],
        "deltas": ["parcel_id", "period_start"], "quarantine": None}


def load(out, name):
    if name == "observations":
        paths = sorted(glob.glob(os.path.join(out, "tables", "observations", "year=*", "*.parquet")))
    else:
        paths = [os.path.join(out, "quarantine.parquet" if name == "quarantine" else f"tables/{name}.parquet")]
        paths = [p for p in paths if os.path.exists(p)]
    if not paths:
        return None
    tables = []
    for p in paths:
        try:
            with pq.ParquetFile(p) as f:
                tables.append(f.read().replace_schema_metadata(None))
        except (pa.ArrowInvalid, OSError) as e:
            print(f"{p}: not readable: {e}", file=sys.stderr)
            sys.exit(2)
    return pa.concat_tables(tables, promote_options="permissive")


def same(a, b, tolerance):
    if isinstance(a, float) and isinstance(b, float):
        if a == b or (math.isnan(a) and math.isnan(b)):
            return True
        return tolerance > 0 and abs(a - b) <= tolerance * max(abs(a), abs(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in a)
    return a == b


def show(v):
    if isinstance(v, bytes):
        try:
            g = shapely.from_wkb(v)
            c = g.centroid
            return f"{g.geom_type} with {shapely.get_num_coordinates(g)} points around {c.x:.6f} {c.y:.6f}"
        except shapely.errors.ShapelyError:
            return f"{len(v)} bytes"
    if hasattr(v, "isoformat"):
        return v.isoformat()
    return "null" if v is None else repr(v) if isinstance(v, float) else str(v)


def rows_by_key(table, keys):
    """{key: row}; a key that occurs n times gets a counter, so that no row is lost."""
    rows, seen = {}, {}
    for row in table.to_pylist():
        key = tuple(show(row[k]) for k in keys)
        n = seen[key] = seen.get(key, 0) + 1
        rows[key if n == 1 else key + (f"occurrence {n}",)] = row
    return rows


def compare(name, a, b, tolerance, limit):
    """The number of differences, after printing them."""
    lines, count = [], {"+": 0, "-": 0, "~": 0}

    def note(sign, text):
        count[sign] += 1
        if sum(count.values()) <= limit:
            lines.append(f"  {sign} {text}")

    if a is None and b is None:
        return None
    if a is None or b is None:
        print(f"{name}: only in {'B' if a is None else 'A'}")
        return 1
    schema = [f"column {f.name} only in {w}" for x, y, w in ((a, b, "A"), (b, a, "B")) for f in x.schema if f.name not in y.schema.names]
    schema += [f"column {f.name}: {f.type} -> {b.schema.field(f.name).type}" for f in a.schema
               if f.name in b.schema.names and b.schema.field(f.name).type != f.type]
    common = [c for c in a.schema.names if c in b.schema.names]
    keys = KEYS[name] if KEYS[name] is not None else common
    lost = [k for k in keys if k not in common]
    if lost:
        print(f"{name}: key column {lost} is not in both")
        return 1
    if not schema and not tolerance and a.equals(b):
        print(f"{name}: same, {a.num_rows} rows")
        return 0
    x, y = rows_by_key(a, keys), rows_by_key(b, keys)
    for k, row in x.items():
        if k not in y:
            note("-", " ".join(k))
            continue
        diff = [f"{c}: {show(row[c])} -> {show(y[k][c])}" for c in common if not same(row[c], y[k][c], tolerance)]
        if diff:
            note("~", " ".join(k) + " | " + "; ".join(diff))
    for k in y:
        if k not in x:
            note("+", " ".join(k))
    n = sum(count.values())
    moved = not n and not schema and list(x) != list(y)
    verdict = "same" if not n and not schema and not moved else "differs"
    print(f"{name}: {verdict}, {len(x)} and {len(y)} rows: {count['+']} added, {count['-']} removed, {count['~']} changed"
          + (", order of rows differs" if moved else ""))
    for line in [f"  ! {s}" for s in schema] + lines:
        print(line)
    if n > limit:
        print(f"  ... and {n - limit} more (--limit)")
    return n + len(schema) + moved


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("a", metavar="A")
    ap.add_argument("b", metavar="B")
    ap.add_argument("--tolerance", type=float, default=0.0, metavar="REL", help="relative difference of floats to let pass")
    ap.add_argument("--limit", type=int, default=20, metavar="N", help="rows to print for each table")
    a = ap.parse_args()
    results = [compare(name, load(a.a, name), load(a.b, name), a.tolerance, a.limit) for name in KEYS]
    if all(n is None for n in results):
        print("no table in either folder", file=sys.stderr)
        return 2
    total = sum(n or 0 for n in results)
    print("the same" if total == 0 else f"{total} differences")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
