#!/usr/bin/env python3
"""Cost of a run beside other programs that make the same table, on the same data with the same number of threads.

  compare_peers.py DATA --peers DIR [--runs 5] [--threads 1] [--lintan target/release/lintan] [--python PYTHON]
                   [--gdal-python PYTHON] [--only NAME,NAME] [--work FOLDER]

DATA holds parcels.gpkg (field parcel_id) and scenes.json: `crs` and a list `scenes` with `date`, the files `B04`, `B08`
and `SCL`, `boa_add_offset` and `quantification`. STAC Items are written to DATA/items where there are none.

DIR is a folder with peer scripts: each takes --data and --out, prints one JSON line with cpu_s and wall_s (and peak_rss_mb),
and writes a table with parcel_id, date, count, mean, stdev, min, max. Which are run, and how, stands in PEERS below;
raw_decode.py is the floor: it only decodes the blocks that parcels touch. Peers whose script or packages are absent are
named and left out. --gdal-python is for the peer whose packages do not live with the others'.

Programs take turns, in another order each round. CPU seconds are user and system time; a run of lintan counts with process
start and all files written, the peers without start and imports. Ratios are medians over rounds, each within its round.
The peers' figures are their own: one that samples its memory while it runs counts that as CPU time, the more of it the longer
it waits for a busy machine, so ratios from a loaded machine flatter lintan.

The change methods have a comparison of their own, compare_change.py.

Exit code 1 when tables disagree, 2 when something needed is absent or fails.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow.dataset as ds
import pyarrow.parquet as pq

# Name, script, arguments ({threads}), columns that mean the same as ours. Quantiles: only where they are the value at which
# the cumulated coverage reaches the share. Pixels by their centre (rasterstats) are another definition: rows alone count.
SAME = {"count": "clear_pixels", "mean": "mean", "stdev": "stddev", "min": "min", "max": "max"}
QUANTILES = {"q10": "p10", "q50": "median", "q90": "p90"}
PEERS = [
    ("exactextract numba", "peer_exactextract.py", ["--mode", "numba", "--workers", "{threads}"], SAME | QUANTILES),
    ("exactextract npool", "peer_exactextract.py", ["--mode", "npool", "--workers", "{threads}"], SAME | QUANTILES),
    ("exactextract weights", "peer_exactextract.py", ["--mode", "weights"], SAME),
    ("exactextract stacked", "peer_exactextract.py", ["--mode", "stacked"], SAME),
    ("exactextract perdate", "peer_exactextract.py", ["--mode", "perdate"], SAME),
    ("extractrs", "peer_extractrs.py", [], SAME),
    ("gdal zonal-stats", "peer_gdal_zonal.py", ["--mode", "perdate"], SAME),
    ("rasterstats", "peer_rasterstats.py", ["--mode", "perdate"], {}),
]
FLOOR = ("bare decoding", "raw_decode.py", ["--mode", "blocks", "--threads", "{threads}"])
TOLERANCE = 1e-6
# Single precision coverage may put a quantile on the neighbouring value where it falls between two pixels.
QUANTILE_ROWS = 1e-3


def fail(message, code=2):
    print(f"compare_peers: {message}", file=sys.stderr)
    sys.exit(code)


def write_items(data, scenes):
    folder = os.path.join(data, "items")
    if os.path.isdir(folder) and any(f.endswith(".json") for f in os.listdir(folder)):
        return folder
    os.makedirs(folder, exist_ok=True)
    for s in scenes["scenes"]:
        assets = {"SCL": {"href": os.path.relpath(os.path.join(data, s["SCL"]), folder), "raster:bands": [{"nodata": 0}]}}
        for key, name in (("B04", "red"), ("B08", "nir")):
            scale = 1 / s["quantification"]
            assets[key] = {"href": os.path.relpath(os.path.join(data, s[key]), folder),
                           "eo:bands": [{"name": key, "common_name": name}],
                           "raster:bands": [{"nodata": 0, "scale": scale, "offset": s["boa_add_offset"] * scale}]}
        item = {"type": "Feature", "stac_version": "1.0.0", "id": "S2B_BENCH_" + s["date"].replace("-", ""), "geometry": None,
                "collection": "sentinel-2-l2a", "links": [], "assets": assets,
                "properties": {"datetime": s["date"] + "T02:31:05Z", "platform": "sentinel-2b", "proj:code": scenes["crs"]}}
        with open(os.path.join(folder, item["id"] + ".json"), "w") as f:
            json.dump(item, f, indent=1)
    return folder


def write_config(work, data, threads):
    path = os.path.join(work, "lintan.toml")
    q = json.dumps  # a JSON string is a TOML string
    with open(path, "w") as f:
        f.write(f"""[project]
name = "compare"
[parcels]
path = {q(os.path.join(data, "parcels.gpkg"))}
id = "parcel_id"
[scenes]
paths = [{q(os.path.join(data, "items"))}]
[observe]
indices = ["ndvi"]
scl_clear = [4, 5, 6, 7]
pixel_m = 10
[output]
dir = {q(os.path.join(work, "out"))}
[engine]
threads = {threads}
""")
    return path


def run_lintan(program, config, work):
    """A run into an empty folder: wall and CPU seconds, peak MB."""
    shutil.rmtree(os.path.join(work, "out"), ignore_errors=True)
    start = time.perf_counter()
    child = subprocess.Popen([program, "run", config, "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    if status != 0:
        fail(f"`{program} run {config}` ended with {os.waitstatus_to_exitcode(status)}, expected 0; run it by hand to see why")
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall, "peak_rss_mb": used.ru_maxrss * 1024 / 1e6}


def run_peer(python, script, arguments):
    done = subprocess.run([python, script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"exit code {done.returncode}: {last}")
    return json.loads(lines[-1])


def our_table(work):
    folder = os.path.join(work, "out", "tables", "observations")
    t = ds.dataset(folder, format="parquet").to_table(columns=["parcel_id", "acquired_at", *SAME.values(), *QUANTILES.values()])
    t = t.to_pandas()
    t["date"] = t["acquired_at"].dt.strftime("%Y-%m-%d")
    return t.set_index(["parcel_id", "date"]).drop(columns="acquired_at").sort_index()


def disagreement(name, ours, path, columns):
    """Why a peer's table is not ours; None where it is."""
    t = pq.read_table(path).to_pandas().astype({"parcel_id": str, "date": str})
    theirs = t.set_index(["parcel_id", "date"]).sort_index()
    if len(theirs) != len(ours) or not (theirs.index == ours.index).all():
        return f"{name}: {len(theirs)} rows, ours {len(ours)}, or other parcels and dates"
    for column, own in columns.items():
        a, b = ours[own], theirs[column]
        if column == "count":
            a, b = a.fillna(0.0), b.fillna(0.0)
        unlike = ((a - b).abs() > TOLERANCE * b.abs().clip(lower=1.0)) | (a.isna() != b.isna())
        allowed = QUANTILE_ROWS * len(ours) if column in QUANTILES else 0
        if unlike.sum() > allowed:
            key = unlike.idxmax()
            return (f"{name}: {column} differs in {unlike.sum()} of {len(ours)} rows (allowed {allowed:.0f}), first at "
                    f"{key[0]}, {key[1]}: theirs {b[key]}, ours {a[key]}")
    return None


def machine():
    model = "unknown processor"
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data")
    p.add_argument("--peers", required=True)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--lintan", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "lintan"))
    p.add_argument("--python", default=sys.executable)
    p.add_argument("--gdal-python", default=None)
    p.add_argument("--only", default="", help="names of peers, with commas")
    p.add_argument("--work", default=None, help="folder for what is written; a temporary one by default")
    a = p.parse_args()
    data = os.path.abspath(a.data)
    try:
        with open(os.path.join(data, "scenes.json")) as f:
            scenes = json.load(f)
    except OSError as e:
        fail(f"{e}; expected a data folder with scenes.json and parcels.gpkg")
    if not os.access(a.lintan, os.X_OK):
        fail(f"found no program at {a.lintan}, expected one; run cargo build --release, or name it with --lintan")
    write_items(data, scenes)
    scratch = tempfile.TemporaryDirectory()
    work = os.path.abspath(a.work or scratch.name)
    os.makedirs(work, exist_ok=True)
    config = write_config(work, data, a.threads)

    only = {n.strip() for n in a.only.split(",") if n.strip()}
    unknown = only - {peer[0] for peer in PEERS}
    if unknown:
        fail(f"found --only {', '.join(sorted(unknown))}, expected one of {', '.join(peer[0] for peer in PEERS)}")
    chosen, left_out = [], {}
    for name, script, arguments, columns in PEERS:
        if only and name not in only:
            continue
        if a.threads == 1 and "npool" in arguments:
            continue  # a pool of one process is the same as no pool
        path = os.path.join(a.peers, script)
        python = a.gdal_python if "gdal" in script else a.python
        if not os.path.exists(path) or python is None:
            left_out[name] = f"found no {path}" if python else "no --gdal-python"
            continue
        chosen.append((name, python, path, arguments, columns))

    costs = {"lintan": [], FLOOR[0]: []}
    fill = lambda arguments: [x.format(threads=a.threads) for x in arguments]  # noqa: E731
    floor = os.path.join(a.peers, FLOOR[1])
    table = os.path.join(work, "peer.parquet")

    def turn(entry, first):
        if entry == "lintan":
            costs[entry].append(run_lintan(a.lintan, config, work))
            return
        if entry == FLOOR[0]:
            try:
                costs[entry].append(run_peer(a.python, floor, ["--data", data, *fill(FLOOR[2])]))
            except RuntimeError as e:
                fail(f"{floor}: {e}")
            return
        name, python, path, arguments, columns = entry
        if name in left_out:
            return
        try:
            cost = run_peer(python, path, ["--data", data, "--out", table, *fill(arguments)])
        except RuntimeError as e:
            left_out[name] = str(e)
            return
        costs.setdefault(name, []).append(cost)
        if first:
            why = disagreement(name, our_table(work), table, columns)
            if why:
                fail(f"the tables disagree: {why}", 1)

    # The first round warms the page cache and compares the tables; it is not counted.
    order = ["lintan", FLOOR[0], *chosen]
    for r in range(-1, a.runs):
        for entry in order[max(r, 0) % len(order):] + order[:max(r, 0) % len(order)]:
            turn(entry, r < 0)
        if r < 0:
            costs = {name: [] for name in costs}

    rows = len(our_table(work))
    with open(os.path.join(work, "out", "run.json")) as f:
        counts = json.load(f)
    median = lambda name, key: statistics.median(c[key] for c in costs[name])  # noqa: E731
    peers = [name for name in costs if name not in ("lintan", FLOOR[0])]
    best = min(peers, key=lambda name: median(name, "cpu_s"), default=None)

    def ratio(name, other):
        if other is None:
            return "-"
        return f"{statistics.median(x['cpu_s'] / y['cpu_s'] for x, y in zip(costs[name], costs[other])):.2f}"

    print(f"{len(scenes['scenes'])} dates, {scenes['width']} x {scenes['height']} pixels, {rows} rows, {a.threads} thread(s), "
          f"{a.runs} rounds; {counts['counts']['blocks_decoded']} blocks decoded, {counts['counts']['blocks_spared']} spared")
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}; GDAL {counts['software']['gdal']} here, "
          f"{costs[FLOOR[0]][0].get('gdal', '?')} in the peers")
    print("| | CPU s: median (min-max) | wall s: median | peak MB | CPU / decoding | CPU / best peer |")
    print("|---|---|---|---|---|---|")
    for name in sorted(costs, key=lambda name: median(name, "cpu_s")):
        cpu = sorted(c["cpu_s"] for c in costs[name])
        print(f"| {name} | {median(name, 'cpu_s'):.2f} ({cpu[0]:.2f}-{cpu[-1]:.2f}) | {median(name, 'wall_s'):.2f} | "
              f"{max(c.get('peak_rss_mb', float('nan')) for c in costs[name]):.0f} | {ratio(name, FLOOR[0])} | {ratio(name, best)} |")
    print(f"the tables agree: {', '.join(peers)}")
    for name, why in left_out.items():
        print(f"not measured: {name}: {why}")


if __name__ == "__main__":
    main()
