#!/usr/bin/env python3
"""Check every table of a finished run with other people's readers: pyarrow, GeoPandas, DuckDB, and tables with
geometry with the validator of geoparquet.org.

  check_outputs.py OUT_DIR [--reference testdata/reference/products.json] [--allow-missing TABLE ...]

Checks columns, Arrow types, field metadata, sorted and unique keys, file metadata, GeoParquet metadata and what must hold
between columns. Columns beyond the contract are allowed. With --reference, compares observations with independently
computed values. Prints one line a check, and ends with `N passed, M failed`; exit code 1 if any failed.
"""
import argparse
import glob
import hashlib
import json
import os
import re
import sys

import duckdb
import geopandas as gpd
import geoparquet_validator
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

F, S, D = pa.float64(), pa.string(), pa.date32()
STATS = ["mean", "stddev", "min", "max", "p10", "p25", "median", "p75", "p90"]
SCHEMAS = {
    "observations": {"parcel_id": S, "scene_id": S, "acquired_at": pa.timestamp("ms", "UTC"), "sensor": S, "grid_id": S,
                     "index": S, "pixels": F, "clear_pixels": F, "clear_fraction": F, **dict.fromkeys(STATS, F), "n_kish": F},
    "series": {"parcel_id": S, "index": S, "date": D, "value": F, "value_se": F, "observations": pa.uint32()},
    "seasons": {"parcel_id": S, "index": S, "year": pa.uint32(), "observations": pa.uint32(), "status": S, "season_start": D,
                "season_peak": D, "season_end": D, "peak_value": F, "base_value": F, "amplitude": F, "integral_index_d": F},
    "disturbances": {"parcel_id": S, "event_id": None, "index": S, "method": S, "detected_on": D, "date_lower": D,
                     "date_upper": D, "magnitude": F, "area_ha": F, "area_se_ha": F, "pixels": F, "probability": F,
                     "before_scene_id": S, "after_scene_id": S, "geometry": pa.binary()},
    "stocks": {"parcel_id": S, "epoch": D, "pool": S, "method": S, "model_id": S, "area_ha": F, "density_t_c_per_ha": F,
               "stock_t_c": F, "stock_se_t_c": F, "ci90_lower_t_c": F, "ci90_upper_t_c": F, "parameter_set": S, "status": S,
               "flags": pa.list_(S)},
    "deltas": {"parcel_id": S, "kind": S, "period_start": D, "period_end": D, "area_ha": F, "stock_start_t_c": F,
               "stock_end_t_c": F, "delta_t_c": F, "delta_t_co2e": F, "delta_se_t_co2e": F, "ci90_lower_t_co2e": F,
               "ci90_upper_t_co2e": F, "relative_uncertainty_percent": F, "deduction_percent": F, "creditable_t_co2e": F,
               "annual_t_co2e_per_ha": F, "disturbed_area_ha": F, "parameter_set": S, "status": S, "flags": pa.list_(S),
               "geometry": pa.binary()},
    "totals": {"group": S, "quantity": S, "period_start": D, "period_end": D, "pool": S, "parcels": pa.uint32(), "area_ha": F,
               "sum_t_c": F, "se_t_c": F, "ci90_lower_t_c": F, "ci90_upper_t_c": F, "sum_t_co2e": F},
    "quarantine": {"stage": S, "reason": S},
}
KEYS = {"observations": ["parcel_id", "index", "acquired_at", "scene_id"], "series": ["parcel_id", "index", "date"],
        "seasons": ["parcel_id", "index", "year"],
        "disturbances": ["parcel_id", "event_id"], "stocks": ["parcel_id", "epoch", "pool"],
        "deltas": ["parcel_id", "period_start"], "totals": ["group", "quantity", "period_start", "period_end", "pool"],
        "quarantine": []}
NOT_NULL = {
    "observations": ["parcel_id", "scene_id", "acquired_at", "sensor", "grid_id", "index", "pixels", "clear_pixels", "clear_fraction"],
    "series": ["parcel_id", "index", "date", "observations"],
    "seasons": ["parcel_id", "index", "year", "observations", "status"],
    "disturbances": ["parcel_id", "event_id", "index", "method", "detected_on", "magnitude", "area_ha", "pixels"],
    "stocks": ["parcel_id", "epoch", "pool", "method", "area_ha", "parameter_set", "status", "flags"],
    "deltas": ["parcel_id", "kind", "period_start", "period_end", "area_ha", "parameter_set", "status", "flags"],
    "totals": ["group", "quantity", "period_end", "pool", "parcels", "area_ha", "sum_t_c", "se_t_c"],
    "quarantine": ["stage", "reason"]}
DUCK = {S: "VARCHAR", F: "DOUBLE", D: "DATE", pa.uint32(): "UINTEGER", pa.list_(S): "VARCHAR[]",
        pa.timestamp("ms", "UTC"): "TIMESTAMP WITH TIME ZONE"}
SENSORS = {"S2A", "S2B", "S2C", "L5", "L7", "L8", "L9", "S2"}  # S2: a catalog that does not say which satellite
KINDS = {"compensation_base", "damaged", "reserve", "reference"}
POOLS = {"aboveground", "belowground", "dead_wood", "litter", "soil", "total"}
STATUS = {"issuable", "screening_only"}


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, ok, what, detail=""):
        ok = bool(ok)
        self.passed += ok
        self.failed += not ok
        print(f"  {'ok  ' if ok else 'FAIL'} {what}" + (f": {detail}" if detail and not ok else ""))
        return ok


def files_of(out, name):
    if name == "observations":
        return sorted(glob.glob(os.path.join(out, "tables", "observations", "year=*", "*.parquet")))
    path = os.path.join(out, "quarantine.parquet") if name == "quarantine" else os.path.join(out, "tables", name + ".parquet")
    return [path] if os.path.exists(path) else []


def same_type(found, wanted):
    if wanted is None:  # the contract leaves an id's type open
        return found == S or pa.types.is_integer(found)
    if pa.types.is_timestamp(wanted):
        return pa.types.is_timestamp(found) and found.unit == wanted.unit and found.tz in ("UTC", "+00:00", "Etc/UTC")
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and found.value_type == wanted.value_type
    return found == wanted


def few(mask, table, keys):
    """The first rows where `mask` is true, readable."""
    mask = np.asarray(mask, dtype=bool)
    rows = [", ".join(f"{k}={table.column(k)[int(i)].as_py()}" for k in keys) for i in np.flatnonzero(mask)[:3]]
    return f"{int(mask.sum())} rows, first: " + " | ".join(rows)


def key_order(table, keys):
    """For each neighbouring pair of rows: -1, 0, 1 as the first is below, equal to, above the second. UTF-8 byte order."""
    n = table.num_rows
    order = np.zeros(max(n - 1, 0), dtype=int)
    for k in keys:
        col = table.column(k).combine_chunks()
        if n < 2:
            break
        a, b = col.slice(0, n - 1), col.slice(1)
        step = np.where(pc.fill_null(pc.greater(a, b), False).to_numpy(zero_copy_only=False), 1,
                        np.where(pc.fill_null(pc.less(a, b), False).to_numpy(zero_copy_only=False), -1, 0))
        order = np.where(order == 0, step, order)
    return order


def check_schema(r, name, path, schema):
    label = name if name != "observations" else os.path.relpath(path, os.path.dirname(os.path.dirname(path)))
    meta = {k.decode(): v.decode("utf-8", "replace") for k, v in (schema.metadata or {}).items()}
    wanted = SCHEMAS[name]
    missing = [c for c in wanted if c not in schema.names]
    r.check(not missing, f"{label}: has every column", f"missing {missing}")
    wrong = [f"{c} is {schema.field(c).type}, expected {t if t is not None else 'utf8 or integer'}"
             for c, t in wanted.items() if c in schema.names and not same_type(schema.field(c).type, t)]
    r.check(not wrong, f"{label}: Arrow types", "; ".join(wrong))
    bare = [f.name for f in schema if not all((f.metadata or {}).get(k, b"").strip() for k in (b"unit", b"description"))]
    r.check(not bare, f"{label}: unit and description on every field", f"absent or empty on {bare}")
    r.check(meta.get("lintan.version", "").strip(), f"{label}: file metadata lintan.version")
    r.check(re.fullmatch(r"(sha256:)?[0-9a-f]{64}", meta.get("lintan.config_sha256", "")),
            f"{label}: file metadata lintan.config_sha256", f"found {meta.get('lintan.config_sha256')!r}")
    if "geometry" in wanted:
        check_geo_metadata(r, label, meta, schema)
    return not missing


def check_geo_metadata(r, label, meta, schema):
    if not r.check("geo" in meta, f"{label}: GeoParquet metadata key geo"):
        return
    geo = json.loads(meta["geo"])
    r.check(geo.get("version") == "1.1.0", f"{label}: GeoParquet version 1.1.0", f"found {geo.get('version')!r}")
    r.check(geo.get("primary_column") == "geometry", f"{label}: primary column is geometry", f"found {geo.get('primary_column')!r}")
    col = geo.get("columns", {}).get("geometry", {})
    r.check(col.get("encoding") == "WKB", f"{label}: encoding WKB", f"found {col.get('encoding')!r}")
    r.check(isinstance(col.get("geometry_types"), list), f"{label}: geometry_types is a list")
    cover = col.get("covering", {}).get("bbox", {})
    parts = ("xmin", "ymin", "xmax", "ymax")
    named = all(isinstance(cover.get(p), list) and len(cover[p]) == 2 for p in parts)
    if r.check(named, f"{label}: covering bbox", f"found {cover}"):
        column = cover["xmin"][0]
        there = column in schema.names and pa.types.is_struct(schema.field(column).type)
        names = [f.name for f in schema.field(column).type] if there else []
        r.check(there and all(cover[p] == [column, p] and p in names for p in parts), f"{label}: covering points at a struct column",
                f"column {column!r} with fields {names}")


def column(table, name):
    return table.column(name).to_numpy(zero_copy_only=False)


def floats(table, name):
    return np.asarray(table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=float)


def is_null(table, name):
    return table.column(name).is_null().to_numpy(zero_copy_only=False)


def close(a, b, rel=1e-9, absolute=1e-9):
    """True where equal within tolerance or where either is null."""
    with np.errstate(invalid="ignore"):
        return np.isnan(a) | np.isnan(b) | (np.abs(a - b) <= absolute + rel * np.abs(b))


def check_rows(r, name, t):
    keys = KEYS[name]
    bad = [f"{c} ({int(is_null(t, c).sum())})" for c in NOT_NULL[name] if is_null(t, c).any()]
    r.check(not bad, f"{name}: no null where none may be", ", ".join(bad))
    infinite = [c for c in t.schema.names if t.schema.field(c).type == F and np.isinf(floats(t, c)).any()]
    nan = [c for c in t.schema.names if t.schema.field(c).type == F and pc.any(pc.is_nan(t.column(c))).as_py()]
    r.check(not infinite and not nan, f"{name}: no NaN or infinite number (null is used instead)", f"{infinite} {nan}")
    if keys:
        unique = t.select(keys).group_by(keys).aggregate([]).num_rows
        r.check(unique == t.num_rows, f"{name}: key ({', '.join(keys)}) is unique", f"{t.num_rows} rows, {unique} keys")
    if t.num_rows:
        RULES.get(name, lambda *_: None)(r, t)


def rules_observations(r, t):
    keys = KEYS["observations"]
    px, clear, frac = (floats(t, c) for c in ("pixels", "clear_pixels", "clear_fraction"))
    r.check((px > 0).all(), "observations: pixels above 0", few(~(px > 0), t, keys))
    bad = (clear < 0) | (clear > px * (1 + 1e-9))
    r.check(not bad.any(), "observations: 0 <= clear_pixels <= pixels", few(bad, t, keys))
    bad = ~close(frac, clear / px)
    r.check(not bad.any(), "observations: clear_fraction = clear_pixels / pixels", few(bad, t, keys))
    for c in STATS:
        bad = is_null(t, c) != (clear == 0)
        r.check(not bad.any(), f"observations: {c} is null if and only if clear_pixels is 0", few(bad, t, keys))
    v = {c: floats(t, c) for c in STATS}
    ladder = ["min", "p10", "p25", "median", "p75", "p90", "max"]
    bad = np.zeros(t.num_rows, bool)
    with np.errstate(invalid="ignore"):
        for a, b in zip(ladder, ladder[1:]):
            bad |= v[a] > v[b]
        r.check(not bad.any(), "observations: " + " <= ".join(ladder), few(bad, t, keys))
        slack = 1e-9 * (1 + np.abs(v["mean"]))
        bad = (v["mean"] < v["min"] - slack) | (v["mean"] > v["max"] + slack)
        r.check(not bad.any(), "observations: mean between min and max", few(bad, t, keys))
        bad = (v["stddev"] < 0) | (v["stddev"] > (v["max"] - v["min"]) / 2 + slack)
        r.check(not bad.any(), "observations: stddev between 0 and half the range", few(bad, t, keys))
        bad = floats(t, "n_kish") < 0
        r.check(not bad.any(), "observations: n_kish not negative", few(bad, t, keys))
    found = set(pc.unique(t.column("sensor")).to_pylist())
    r.check(found <= SENSORS, "observations: sensor names", f"unknown {found - SENSORS}")
    per = t.select(["scene_id", "acquired_at"]).group_by("scene_id").aggregate([("acquired_at", "count_distinct")])
    r.check(pc.all(pc.equal(per.column("acquired_at_count_distinct"), 1)).as_py(), "observations: one time per scene")


def rules_series(r, t):
    day = t.column("date").combine_chunks().cast(pa.int32()).to_numpy(zero_copy_only=False)
    pid, idx = column(t, "parcel_id"), column(t, "index")
    same = (pid[1:] == pid[:-1]) & (idx[1:] == idx[:-1])
    steps = np.unique(np.diff(day)[same])
    r.check(len(steps) <= 1 and (steps > 0).all(), "series: a regular step", f"steps in days: {steps.tolist()[:10]}")
    # The smoother needs three steps with an observation, the harmonic curve (no lambda) 12 observations; a shorter series
    # has no values.
    seen = pd.DataFrame({"p": pid, "i": idx, "o": column(t, "observations") > 0}).groupby(["p", "i"]).o.transform("sum").to_numpy()
    harmonic = "lambda" in t.schema.names and bool(is_null(t, "lambda").all())
    total = pd.DataFrame({"p": pid, "i": idx, "o": column(t, "observations")}).groupby(["p", "i"]).o.transform("sum").to_numpy()
    enough = total >= 12 if harmonic else seen >= 3
    bad = is_null(t, "value") & (column(t, "observations") > 0) & enough
    r.check(not bad.any(), "series: a value wherever there are observations", few(bad, t, KEYS["series"]))
    with np.errstate(invalid="ignore"):
        bad = floats(t, "value_se") < 0
    r.check(not bad.any(), "series: value_se not negative", few(bad, t, KEYS["series"]))


def rules_seasons(r, t):
    keys = KEYS["seasons"]
    ok = column(t, "status") == "ok"
    metrics = ["season_start", "season_peak", "season_end", "peak_value", "base_value", "amplitude", "integral_index_d"]
    bad = np.any([is_null(t, c) == ok for c in metrics], axis=0) if t.num_rows else np.zeros(0, bool)
    r.check(not bad.any(), "seasons: metrics where the status is ok, and nowhere else", few(bad, t, keys))
    t = t.filter(pa.array(ok, pa.bool_()))
    a, p, z = (pd.to_datetime(pd.Series(t.column(c).to_pylist(), dtype="object")) for c in ("season_start", "season_peak", "season_end"))
    bad = ((a > p) | (p > z)).to_numpy()
    r.check(not bad.any(), "seasons: start <= peak <= end", few(bad, t, keys))
    bad = ~close(floats(t, "amplitude"), floats(t, "peak_value") - floats(t, "base_value"), 1e-9, 1e-9) | ~(floats(t, "amplitude") > 0)
    r.check(not bad.any(), "seasons: amplitude = peak - base, above 0", few(bad, t, keys))


def rules_disturbances(r, t):
    keys = KEYS["disturbances"]
    lo, at, hi = (pd.to_datetime(pd.Series(t.column(c).to_pylist(), dtype="object")) for c in ("date_lower", "detected_on", "date_upper"))
    # The change lies between the two clear dates; a method that waits for confirmation decides on a later one.
    bad = ((lo >= hi) | (hi > at)).to_numpy()
    r.check(not bad.any(), "disturbances: date_lower < date_upper <= detected_on", few(bad, t, keys))
    with np.errstate(invalid="ignore"):
        bad = ~(floats(t, "area_ha") > 0) | ~(floats(t, "pixels") > 0)
        r.check(not bad.any(), "disturbances: area and pixels above 0", few(bad, t, keys))
        p, se = floats(t, "probability"), floats(t, "area_se_ha")
        bad = (p < 0) | (p > 1) | (se < 0)
        r.check(not bad.any(), "disturbances: probability in 0..1, area_se_ha not negative", few(bad, t, keys))


def rules_stocks(r, t):
    keys = KEYS["stocks"]
    stock, lo, hi, se = (floats(t, c) for c in ("stock_t_c", "ci90_lower_t_c", "ci90_upper_t_c", "stock_se_t_c"))
    bad = ~close(stock, floats(t, "density_t_c_per_ha") * floats(t, "area_ha"), 1e-6, 1e-6)
    r.check(not bad.any(), "stocks: stock = density x area", few(bad, t, keys))
    with np.errstate(invalid="ignore"):
        bad = (lo > stock) | (stock > hi) | (se < 0)
    r.check(not bad.any(), "stocks: estimate inside its interval, se not negative", few(bad, t, keys))
    for c, allowed in (("pool", POOLS), ("status", STATUS)):
        found = set(pc.unique(t.column(c)).to_pylist())
        r.check(found <= allowed, f"stocks: {c} names", f"unknown {found - allowed}")
    d = pd.DataFrame({k: t.column(k).to_pylist() for k in keys} | {"v": stock})
    total = d[d.pool == "total"].set_index(["parcel_id", "epoch"]).v
    parts = d[d.pool != "total"].groupby(["parcel_id", "epoch"]).v.sum(min_count=1).reindex(total.index)
    ok = close(total.to_numpy(float), parts.to_numpy(float), 1e-6, 1e-6)
    r.check(ok.all(), "stocks: total is the sum of the pools", f"not for {[str(i) for i in total.index[~ok][:3]]}")


def rules_deltas(r, t):
    keys = KEYS["deltas"]
    d, co2 = floats(t, "delta_t_c"), floats(t, "delta_t_co2e")
    bad = ~close(d, floats(t, "stock_end_t_c") - floats(t, "stock_start_t_c"), 1e-6, 1e-6)
    r.check(not bad.any(), "deltas: delta = end - start, growth positive", few(bad, t, keys))
    bad = ~close(co2, d * 44 / 12, 1e-6, 1e-6)
    r.check(not bad.any(), "deltas: t CO2e = t C x 44/12", few(bad, t, keys))
    with np.errstate(invalid="ignore"):
        bad = (floats(t, "ci90_lower_t_co2e") > co2) | (co2 > floats(t, "ci90_upper_t_co2e")) | (floats(t, "delta_se_t_co2e") < 0)
    r.check(not bad.any(), "deltas: estimate inside its interval, se not negative", few(bad, t, keys))
    start, end = column(t, "period_start"), column(t, "period_end")
    bad = np.array([not a < b for a, b in zip(start, end)])
    r.check(not bad.any(), "deltas: period_start before period_end", few(bad, t, keys))
    credit, status = floats(t, "creditable_t_co2e"), column(t, "status")
    bad = (status == "screening_only") & ~np.isnan(credit) & (credit != 0)
    r.check(not bad.any(), "deltas: nothing creditable when screening_only", few(bad, t, keys))
    bad = ~np.isnan(credit) & is_null(t, "deduction_percent") & (status != "screening_only")
    r.check(not bad.any(), "deltas: nothing creditable without a deduction", few(bad, t, keys))
    for c, allowed in (("kind", KINDS), ("status", STATUS)):
        found = set(pc.unique(t.column(c)).to_pylist())
        r.check(found <= allowed, f"deltas: {c} names", f"unknown {found - allowed}")


RULES = {"observations": rules_observations, "series": rules_series, "seasons": rules_seasons, "disturbances": rules_disturbances,
         "stocks": rules_stocks, "deltas": rules_deltas}


def check_geopandas(r, name, path, table):
    try:
        g = gpd.read_parquet(path)
    except Exception as e:  # any failure to read is the finding
        r.check(False, f"{name}: GeoPandas reads it", f"{type(e).__name__}: {e}")
        return
    r.check(len(g) == table.num_rows, f"{name}: GeoPandas reads every row", f"{len(g)} of {table.num_rows}")
    r.check(g.crs is not None, f"{name}: has a CRS")
    if not len(g):
        return
    there = g.geometry.notna() & ~g.geometry.is_empty
    r.check(there.all(), f"{name}: every row has a geometry", few(~there.to_numpy(), table, KEYS[name]))
    g = g[there]
    r.check(g.is_valid.all(), f"{name}: valid geometry", f"{[shapely.is_valid_reason(x) for x in g.geometry[~g.is_valid][:3]]}")
    kinds = set(g.geom_type)
    r.check(kinds <= {"Polygon", "MultiPolygon"}, f"{name}: polygons", f"found {kinds}")
    if g.crs is not None and g.crs.is_geographic:
        b = g.total_bounds
        r.check(b[0] >= -180 and b[2] <= 180 and b[1] >= -90 and b[3] <= 90, f"{name}: longitude, latitude in range", str(b))
        geod = g.crs.get_geod()
        if geod is not None and name == "deltas":  # a disturbance's area is that of its pixels inside the parcel
            area = np.array([abs(geod.geometry_area_perimeter(x)[0]) / 1e4 for x in g.geometry])
            said = g["area_ha"].to_numpy(float)
            with np.errstate(divide="ignore", invalid="ignore"):
                off = np.nanmax(np.abs(said / area - 1)) if len(area) else 0
            r.check(off < 0.02, f"{name}: area_ha is the geodesic area of the geometry within 2 %", f"worst {100 * off:.2f} %")
    try:
        column_name = json.loads(pq.read_schema(path).metadata[b"geo"])["columns"]["geometry"]["covering"]["bbox"]["xmin"][0]
        box = pd.DataFrame(table.column(column_name).to_pylist())[["xmin", "ymin", "xmax", "ymax"]][there.to_numpy()]
    except KeyError:
        return
    off = np.abs(box.to_numpy(float) - g.bounds.to_numpy()).max()
    r.check(off < 1e-4, f"{name}: bbox column holds the bounds", f"off by {off:g}")


def check_geoparquet(r, name, path, rows):
    try:
        report = geoparquet_validator.check(path)
    except Exception as e:  # any failure to read is the finding
        r.check(False, f"{name}: the GeoParquet validator reads it", f"{type(e).__name__}: {e}")
        return
    outcomes = {o["id"].split("/")[-1]: o for o in report["outcomes"]}
    failed = [f"{k}: {o['message']}" for k, o in outcomes.items() if o["status"] == "fail"]
    r.check(not failed, f"{name}: conformant to the GeoParquet validator", "; ".join(failed))
    # A validator that skipped what matters would pass anything.
    needed = ["geo-metadata", "geometry-column-type", "keys", "bbox-column-structure"] + (["wkb", "geometry-types", "bbox-extent"] if rows else [])
    passed = [k for k in needed if outcomes.get(k, {}).get("status") == "pass"]
    r.check(passed == needed, f"{name}: the GeoParquet validator looked at metadata, covering and geometry", f"only at {passed}")


def check_duckdb(r, name, paths, table):
    con = duckdb.connect()
    hive = "true" if name == "observations" else "false"
    names = [c for c in table.schema.names if c != "geometry"]
    cols = ", ".join('"' + c + '"' for c in names)
    quoted = "[" + ", ".join("'" + p.replace("'", "''") + "'" for p in paths) + "]"
    src = f"(select {cols} from read_parquet({quoted}, hive_partitioning={hive}))"
    try:
        n = con.execute(f"select count(*) from {src}").fetchone()[0]
        types = {row[0]: row[1] for row in con.execute(f"describe select * from {src}").fetchall()}
        keys = ", ".join('"' + k + '"' for k in KEYS[name])
        distinct = con.execute(f"select count(*) from (select distinct {keys} from {src})").fetchone()[0] if keys else n
        total = {c: con.execute(f'select sum("{c}") from {src}').fetchone()[0] for c in names if table.schema.field(c).type == F}
    except duckdb.Error as e:
        r.check(False, f"{name}: DuckDB reads it", f"{type(e).__name__}: {e}")
        return
    r.check(n == table.num_rows, f"{name}: DuckDB counts the same rows", f"{n} of {table.num_rows}")
    r.check(distinct == n, f"{name}: DuckDB finds the key unique", f"{distinct} keys in {n} rows")
    wrong = [f"{c} is {types.get(c)}" for c, t in SCHEMAS[name].items() if t in DUCK and c in names and types.get(c) != DUCK[t]]
    r.check(not wrong, f"{name}: DuckDB types", "; ".join(wrong))
    off = [c for c, v in total.items() if not np.isclose(v or 0.0, pc.sum(table.column(c)).as_py() or 0.0, rtol=1e-9, atol=1e-9)]
    r.check(not off, f"{name}: DuckDB sums the same numbers", f"not {off}")


def check_table(r, out, name, allow_missing):
    paths = files_of(out, name)
    print(f"{name} ({len(paths)} files)" if name == "observations" else name)
    if not paths:
        if name in allow_missing:
            print("  --   not there, allowed")
        else:
            r.check(False, f"{name}: the table is there")
        return None
    tables = []
    for p in paths:
        try:
            with pq.ParquetFile(p) as f:  # not read_table: a folder named year=... must not become a column
                schema, t = f.schema_arrow, f.read()
        except (pa.ArrowInvalid, OSError) as e:
            r.check(False, f"{name}: pyarrow reads {os.path.basename(p)}", str(e))
            return None
        if not check_schema(r, name, p, schema):
            return None
        if KEYS[name]:
            order = key_order(t, KEYS[name])
            r.check((order <= 0).all(), f"{name}: sorted by {', '.join(KEYS[name])}", few(np.append(order > 0, False), t, KEYS[name]))
        if name == "observations":
            year = int(re.search(r"year=(\d+)", p).group(1))
            found = set(pc.unique(pc.year(t.column("acquired_at"))).to_pylist())
            r.check(found <= {year} and "year" not in schema.names, f"observations: year={year} holds that year, and no column year", f"{found}")
        tables.append(t)
    r.check(all(t.schema.equals(tables[0].schema) for t in tables), f"{name}: one schema in all files")
    t = pa.concat_tables([x.replace_schema_metadata(None) for x in tables], promote_options="permissive")
    if not all(same_type(t.schema.field(c).type, w) for c, w in SCHEMAS[name].items()):
        print("  --   types differ from the contract: values not looked at")
        return None
    check_rows(r, name, t)
    if "geometry" in SCHEMAS[name]:
        check_geopandas(r, name, paths[0], t)
        check_geoparquet(r, name, paths[0], t.num_rows)
    check_duckdb(r, name, paths, t)
    print(f"  --   {t.num_rows} rows")
    return t


def check_run_json(r, out):
    print("run.json")
    path = os.path.join(out, "run.json")
    if not r.check(os.path.exists(path), "run.json: is there"):
        return
    try:
        with open(path, encoding="utf-8") as f:
            run = json.load(f)
    except ValueError as e:
        r.check(False, "run.json: is JSON", str(e))
        return
    r.check(glob.glob(os.path.join(out, "runs", "*.json")), "runs/: has the runs' records")
    listed = run.get("tables", [])
    listed = [{"path": k, **v} for k, v in listed.items() if isinstance(v, dict)] if isinstance(listed, dict) else listed
    seen = 0
    for e in listed:
        path, digest = e.get("path") or e.get("file") or e.get("name"), e.get("sha256")
        for base in (out, os.path.join(out, "tables")):
            full = os.path.join(base, str(path))
            if digest and os.path.isfile(full):
                seen += 1
                with open(full, "rb") as f:
                    ok = hashlib.sha256(f.read()).hexdigest() == digest
                rows = e.get("rows")
                try:
                    ok_rows = rows is None or rows == pq.read_metadata(full).num_rows
                except (pa.ArrowInvalid, OSError):
                    ok_rows = False
                r.check(ok and ok_rows, f"run.json: SHA-256 and rows of {path}", f"digest {'ok' if ok else 'differs'}, rows {rows}")
                break
    r.check(seen, "run.json: lists the tables with their SHA-256", f"found {json.dumps(listed)[:200]}")


def check_reference(r, t, path):
    print(f"reference {path}")
    with open(path, encoding="utf-8") as f:
        ref = json.load(f)
    if t is None:
        r.check(False, "reference: observations to compare with")
        return
    d = t.to_pandas()
    d["day"] = pd.to_datetime(d.acquired_at).dt.strftime("%Y-%m-%d")
    by = {}
    for row in d.itertuples(index=False):
        by.setdefault((row.parcel_id, getattr(row, "index"), row.day), []).append(row)
    have_scene, have_index, have_parcel = set(d.day), set(d["index"]), set(d.parcel_id)
    matched, missing, problems, done = 0, [], [], set()
    worst = (0.0, 0.0, "none")
    for p in ref["products"]:
        day = p["acquired_at"][:10]
        for values in p["rows"]:
            want = dict(zip(p["columns"], values))
            key = (want["parcel_id"], want["index"], day)
            if day not in have_scene or want["index"] not in have_index or want["parcel_id"] not in have_parcel:
                continue
            rows = by.get(key, [])
            exact = [x for x in rows if x.scene_id == p["scene_id"]]
            rows = exact or rows
            if not rows:
                missing.append(key)
                continue
            if not exact and key in done:
                continue  # the same acquisition in another baseline, used once
            done.add(key)
            for got in rows:
                matched += 1
                for c in p["columns"][2:]:
                    g, w = getattr(got, c), want[c]
                    g = None if g is None or np.isnan(g) else float(g)
                    where = f"{got.parcel_id} {key[1]} {got.scene_id} {c}: {g}, expected {w}"
                    if (g is None) != (w is None):
                        problems.append(where)
                    elif w is not None:
                        diff = abs(g - w)
                        if diff > 1e-9 + 1e-6 * abs(w):
                            problems.append(where)
                        if diff > worst[0]:
                            worst = (diff, diff / abs(w) if w else float("inf"), where)
    r.check(matched, "reference: at least one row matched", "no parcel, index and day in common")
    r.check(not missing, "reference: no row is missing of scenes, parcels and indices that the run has", f"{len(missing)}, first {missing[:3]}")
    r.check(not problems, "reference: every value within 1e-6 relative or 1e-9 absolute", f"{len(problems)} differ, first: " + " | ".join(problems[:5]))
    print(f"  --   {matched} rows compared; worst difference {worst[0]:.3g} (relative {worst[1]:.3g}) at {worst[2]}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", metavar="OUT_DIR")
    ap.add_argument("--reference", metavar="FILE")
    ap.add_argument("--allow-missing", nargs="*", default=[], metavar="TABLE", choices=list(SCHEMAS))
    a = ap.parse_args()
    if not os.path.isdir(a.out):
        sys.exit(f"{a.out}: no such folder")
    r = Report()
    check_run_json(r, a.out)
    observations = None
    for name in SCHEMAS:
        t = check_table(r, a.out, name, a.allow_missing)
        observations = t if name == "observations" else observations
    if a.reference:
        check_reference(r, observations, a.reference)
    print(f"{r.passed} passed, {r.failed} failed")
    return 1 if r.failed else 0


if __name__ == "__main__":
    sys.exit(main())
