#!/usr/bin/env python3
"""Cost of the change methods beside other programs on the same pixels, one thread, in turns; and of whole runs of lintan.

  compare_change.py DATA [--peer NAME=PYTHON ...] [--runs 3] [--side 512] [--work FOLDER] [--only NAME,NAME]
                    [--bench PROGRAM] [--lintan target/release/lintan] [--parts pixels,growth,runs]

DATA holds scenes.json (see compare_peers.py) with red (B04), near infrared (B08) and SCL of every date; the published figures
are of 180 dates of 512 x 512 pixels. PYTHON has the peer installed: NAME is zeit (zeit-cdts, GPL: run, not read), nrt or pyccd
(lcmap-pyccd). --bench is the benchmark change_stack as `cargo bench --no-run --bench change_stack` names it; by default cargo
runs it. A peer that is not named or does not start is reported as not measured.

pixels   each method and the peers of it on one stack that is made once: NDVI, red and NIR as measured; blue, green and the two
         SWIR bands are made from these with seeded noise, since DATA has none; and yearly values of 36 years for LandTrendr.
         CPU seconds are user and system time of the call (not of starting and reading), peak memory that of the process from
         there on, input and interpreter included. Results are compared: the share of pixels with the same breaks.
growth   our methods on a sixteenth, a quarter and all of the pixels, and on a third, two thirds and all of the dates.
runs     `lintan run` with one method at a time over square parcels that cover the scene: from nothing, once more, and with one
         new scene. CPU and memory of the process, all files included.

Exit code 2 when something needed is absent or fails.
"""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

COLUMNS = 8  # of a result: breaks as days since 1970-01-01, ascending; UNJUDGED in the first where there is no verdict
UNJUDGED = -1.0
MISSING = -32768
BANDS = ["blue", "green", "red", "nir", "swir1", "swir2"]
FIVE = BANDS[1:]
NDVI = {"ndvi": {"file": "ndvi.f32", "type": "f32"}}
YEARS = range(1985, 2021)
START = "2021-07-01"
PER_YEAR = 36  # of the regular axis that zeit-cdts makes of dates ten days apart
SEASON = ["06-10", "09-20"]

# zeit-cdts takes all of the history; the default of lintan cuts it where it stops being stable, as R does.
BFAST = {"index": "ndvi", "monitor_start": START, "order": 2, "history": "all"}
BFAST_ROC = BFAST | {"history": "roc"}
LANDTRENDR = {"index": "ndvi", "min_magnitude": 0.1, "season": SEASON, "variant": "idl", "max_segments": 6, "pval_threshold": 0.05,
              "recovery_threshold": 0.25, "spike_threshold": 0.9, "best_model_proportion": 0.75, "vertex_count_overshoot": 3,
              "min_observations_needed": 5}
MONITOR = {"index": "ndvi", "monitor_start": START}
CCDC_TWO = {"index": "ndvi", "bands": ["red", "nir"], "tmask_bands": ["red", "nir"]}
CCDC_FIVE = {"index": "nbr", "bands": FIVE, "tmask_bands": ["green", "swir1"]}
TWO_DATE = {"index": "ndvi", "before": ["2020-06-10", "2020-09-20"], "after": ["2023-06-10", "2023-09-20"], "min_drop": 0.2}

# Group, then the programs: name, which (ours, or a peer), what it is told. The first is what ratios are of.
GROUPS = [
    ("BFAST monitor, order 2", [
        ("lintan bfast_monitor", "ours", dict(method="bfast_monitor", settings=BFAST, **{"per-year": PER_YEAR})),
        ("zeit-cdts bfast_monitor", "zeit", dict(engine="bfast")),
        ("lintan bfast_monitor, history cut", "ours", dict(method="bfast_monitor", settings=BFAST_ROC))]),
    ("LandTrendr, from all dates", [
        ("lintan landtrendr", "ours", dict(method="landtrendr", settings=LANDTRENDR)),
        ("zeit-cdts landtrendr, composites by NumPy", "zeit", dict(engine="landtrendr", dates=True))]),
    ("LandTrendr, 5 yearly composites", [
        ("lintan landtrendr", "ours", dict(method="landtrendr", settings=LANDTRENDR, stack="composites")),
        ("zeit-cdts landtrendr", "zeit", dict(engine="landtrendr", stack="composites"))]),
    ("LandTrendr, 36 yearly values", [
        ("lintan landtrendr", "ours", dict(method="landtrendr", settings=LANDTRENDR, stack="yearly")),
        ("zeit-cdts landtrendr", "zeit", dict(engine="landtrendr", stack="yearly"))]),
    ("CCDC, red and NIR", [
        ("lintan ccdc", "ours", dict(method="ccdc", settings=CCDC_TWO)),
        ("zeit-cdts ccdc", "zeit", dict(engine="ccdc", bands=["red", "nir"])),
        ("zeit-cdts sccd", "zeit", dict(engine="sccd", bands=["red", "nir"]))]),
    ("CCDC, five bands", [
        ("lintan ccdc", "ours", dict(method="ccdc", settings=CCDC_FIVE)),
        ("zeit-cdts ccdc", "zeit", dict(engine="ccdc", bands=BANDS)),
        ("zeit-cdts sccd", "zeit", dict(engine="sccd", bands=BANDS))]),
    ("CCDC, five bands, the square of most losses", [
        ("lintan ccdc", "ours", dict(method="ccdc", settings=CCDC_FIVE, square=True)),
        ("lcmap-pyccd", "pyccd", dict(engine="pyccd", square=True))]),
    ("monitoring", [
        ("lintan monitor, parcels of 41 ha", "ours", dict(method="monitor", settings=MONITOR, block=4096)),
        *[(f"nrt {name}", "nrt", dict(engine=name)) for name in ("EWMA", "CuSum", "MoSum", "IQR")]]),
    ("two dates", [("lintan two_date", "ours", dict(method="two_date", settings=TWO_DATE, block=4096))]),
]
# Another method than ours: what it finds is not compared.
NO_TWIN = {"zeit-cdts sccd", "nrt EWMA", "nrt CuSum", "nrt MoSum", "nrt IQR"}
SQUARE = 24


def fail(message, code=2):
    print(f"compare_change: {message}", file=sys.stderr)
    sys.exit(code)


# --- the stack ---------------------------------------------------------------------------------------------------------------
def make_stack(data, scenes, side, folder):
    """Layers of the upper left square, time by row by column; nothing where it is done already."""
    import rasterio
    from rasterio.windows import Window

    done = os.path.join(folder, "stack.json")
    if os.path.exists(done):
        return
    os.makedirs(folder, exist_ok=True)
    days = [int(np.datetime64(s["date"]).astype("datetime64[D]").astype(int)) for s in scenes["scenes"]]
    shape = (len(days), side, side)
    open_layer = lambda name, kind: np.memmap(os.path.join(folder, name), kind, "w+", shape=shape)  # noqa: E731
    ndvi, codes = open_layer("ndvi.f32", "<f4"), open_layer("fmask.u8", "u1")
    bands = {b: open_layer(f"{b}.i16", "<i2") for b in BANDS}
    raw = {b: open_layer(f"{b}.raw", "<i2") for b in BANDS}  # clouds not taken out: for programs that read a mask of their own
    fmask = np.zeros(12, np.uint8)  # SCL to Fmask: 0 clear, 1 water, 2 shadow, 3 snow, 4 cloud, 255 none
    fmask[[0, 3, 6, 8, 9, 10, 11]] = [255, 2, 1, 4, 4, 4, 3]
    for t, s in enumerate(scenes["scenes"]):
        def read(key, k=1):
            with rasterio.open(os.path.join(data, s[key])) as d:
                k = round(d.transform.a / scenes["pixel"])
                v = d.read(1, window=Window(0, 0, side // k, side // k))
                return np.repeat(np.repeat(v, k, 0), k, 1) if k > 1 else v
        red, nir, scl = read("B04").astype(np.int32), read("B08").astype(np.int32), read("SCL")
        code = np.where((red == 0) | (nir == 0), 255, fmask[scl])
        red, nir = red + s["boa_add_offset"], nir + s["boa_add_offset"]
        noise = lambda size: np.random.default_rng([7, t, size]).normal(0, size, (side, side))  # noqa: E731,B023
        made = {"blue": 0.6 * red + noise(14), "green": 0.8 * red + 0.06 * nir + noise(15), "red": red, "nir": nir,
                "swir1": 0.55 * nir + 0.5 * red + noise(25), "swir2": 0.25 * nir + 0.7 * red + noise(26)}
        clear = code <= 1
        whole = np.ones((side, side), bool)
        for b in BANDS:
            value = np.rint(made[b]).astype(np.int32)
            raw[b][t] = np.clip(value, -2000, 16000)
            whole &= (value > 0) & (value < 10000)
        # pyccd and zeit-cdts leave a date out where any band is beyond 0 to 1: so that all see the same, here too.
        for b in BANDS:
            bands[b][t] = np.where(clear & whole, raw[b][t], MISSING)
        codes[t] = code
        with np.errstate(all="ignore"):
            value = ((nir - red) / (nir + red)).astype(np.float32)
        ndvi[t] = np.where(clear & (nir + red > 0), value, np.nan)
    for layer in [ndvi, codes, *bands.values(), *raw.values()]:
        layer.flush()
    layers = {**NDVI, **{b: {"file": f"{b}.i16", "type": "i16"} for b in BANDS}}
    write(done, {"days": days, "side": side, "layers": layers})


def make_yearly(side, folder):
    """Yearly NDVI with noise, clouded summers and fellings that grow back."""
    done = os.path.join(folder, "stack.json")
    if os.path.exists(done):
        return
    os.makedirs(folder, exist_ok=True)
    rng, n = np.random.default_rng(11), len(YEARS)
    t = np.arange(n)[:, None, None]
    values = rng.uniform(0.6, 0.9, (side, side)) + rng.normal(0, 1, (n, side, side)) * rng.choice([0.01, 0.02, 0.04], (side, side))
    felled, drop, back = rng.integers(1, 2 * n, (side, side)), rng.uniform(0.1, 0.6, (side, side)), rng.uniform(3, 20, (side, side))
    values -= np.where(t >= felled, drop * np.exp(-np.maximum(t - felled, 0) / back), 0)
    values[1:-1][rng.random((n - 2, side, side)) < 0.05] = np.nan
    np.round(values, 4).astype("<f4").tofile(os.path.join(folder, "ndvi.f32"))
    days = [int(np.datetime64(f"{y}-07-20").astype("datetime64[D]").astype(int)) for y in YEARS]
    write(done, {"days": days, "side": side, "layers": NDVI})


def composites(dates, ndvi):
    """Median of the season, year by year."""
    year = dates.astype("datetime64[Y]").astype(int) + 1970
    season = np.array([SEASON[0] <= str(d)[5:] <= SEASON[1] for d in dates])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels without a clear date
        return np.stack([np.nanmedian(ndvi[season & (year == y)], 0) for y in sorted(set(year.tolist()))])


def make_composites(stack, side, folder):
    """The yearly composites of a stack, as a stack."""
    done = os.path.join(folder, "stack.json")
    if os.path.exists(done):
        return
    os.makedirs(folder, exist_ok=True)
    dates, ndvi = ndvi_of(stack, side)
    composites(dates, ndvi).astype("<f4").tofile(os.path.join(folder, "ndvi.f32"))
    years = sorted(set(str(d)[:4] for d in dates))
    write(done, {"days": [int(np.datetime64(f"{y}-07-20").astype(int)) for y in years], "side": side, "layers": NDVI})


def ndvi_of(stack, side):
    """Dates and NDVI of a stack."""
    with open(os.path.join(stack, "stack.json")) as f:
        days = np.array(json.load(f)["days"])
    return days.astype("datetime64[D]"), np.memmap(os.path.join(stack, "ndvi.f32"), "<f4", "r", shape=(len(days), side, side))


def write(path, value):
    with open(path, "w") as f:
        json.dump(value, f)


def most_losses(stack, side, size):
    """Row and column of the square whose NDVI falls most often between the first season and the last."""
    summer = composites(*ndvi_of(stack, side))
    lost = summer[0] - summer[-1] > 0.2
    starts = range(0, side - size + 1, size // 2)
    return max(((r, c) for r in starts for c in starts), key=lambda at: lost[at[0]:at[0] + size, at[1]:at[1] + size].sum())


# --- a peer, run by this script in the peer's own Python ---------------------------------------------------------------------
class Meter:
    """CPU seconds of a call, and the highest resident memory from its start on (MB)."""

    def __enter__(self):
        try:
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")
        except OSError:
            pass
        self.input = self.peak()
        self.wall, self.cpu = time.perf_counter(), self.used()
        return self

    def __exit__(self, *_):
        self.cpu, self.wall = self.used() - self.cpu, time.perf_counter() - self.wall
        self.cost = {"cpu_s": self.cpu, "wall_s": self.wall, "peak_rss_mb": self.peak(), "input_rss_mb": self.input}

    @staticmethod
    def used():
        u = resource.getrusage(resource.RUSAGE_SELF)
        return u.ru_utime + u.ru_stime

    @staticmethod
    def peak():
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) * 1024 / 1e6


class Input:
    """The square of a stack that a peer is to read."""

    def __init__(self, told):
        self.told, self.side = told, told["side"]
        with open(os.path.join(told["stack"], "stack.json")) as f:
            head = json.load(f)
        self.days, self.whole = np.array(head["days"]), head["side"]
        self.dates = self.days.astype("datetime64[D]")
        self.first = int(np.searchsorted(self.dates, np.datetime64(START)))  # of the monitored dates

    def layer(self, file, kind):
        v = np.memmap(os.path.join(self.told["stack"], file), kind, "r", shape=(len(self.days), self.whole, self.whole))
        row, col = self.told["row"], self.told["col"]
        return np.array(v[:, row:row + self.side, col:col + self.side])

    def ndvi(self):
        return self.layer("ndvi.f32", "<f4")


# Each runs once on a few pixels, which is not counted (imports, compilers), then on all; and gives its name, cost and result.
def zeit_bfast(given, out):
    import xarray as xr
    import zeit

    grid = dict(time=given.dates.astype("datetime64[ns]"), y=np.arange(given.side)[::-1] * 10.0, x=np.arange(given.side) * 10.0)
    cube = xr.DataArray(given.ndvi(), dims=("time", "y", "x"), coords=grid)

    def work(part):  # steps of a regular axis that begins with a year, as ours; the first monitored date by its step
        return zeit.bfast_monitor(part, given.first / PER_YEAR, start_time=0.0, frequency=PER_YEAR, order=BFAST["order"], nodata=None,
                                  n_jobs=1)
    work(cube[:, :8, :8])
    with Meter() as meter:
        o = work(cube)
    broken = o["has_break"].values
    out[:, 0] = np.where(broken, given.days[np.where(broken, o["breakpoint_idx"].values, 0).astype(int)], 0).ravel()
    out[:, 1] = o["magnitude"].values.ravel()
    out[~o["valid"].values.astype(bool).ravel(), 0] = UNJUDGED
    return "zeit-cdts", meter.cost


def zeit_landtrendr(given, out):
    import zeit

    ndvi, years = given.ndvi(), sorted({int(str(d)[:4]) for d in given.dates})
    same = {k: v for k, v in LANDTRENDR.items() if k not in ("index", "min_magnitude", "season", "variant")}

    def work(v):
        if given.told.get("dates"):
            v = composites(given.dates, v)
        return v, zeit.landtrendr(v, years=years, nodata=None, n_jobs=1, prevent_fast_recovery=False, **same)
    work(ndvi[:, :8, :8])
    with Meter() as meter:
        values, o = work(ndvi)
    year, value = (o[k].values.reshape(-1, out.shape[0]) for k in ("vertex_year", "vertex_value"))
    has = np.isfinite(values).reshape(len(years), -1)
    for p, n in enumerate(o["n_vertices"].values.ravel()):
        if n < 2 or has[:, p].sum() < LANDTRENDR["min_observations_needed"]:
            out[p, 0] = UNJUDGED
            continue
        falls = [int(year[k, p]) for k in range(n - 1) if value[k + 1, p] - value[k, p] <= -LANDTRENDR["min_magnitude"]]
        for k, start in enumerate(falls[:COLUMNS]):
            after = next((y for i, y in enumerate(years) if y > start and has[i, p]), start)
            out[p, k] = np.datetime64(f"{after}-{SEASON[0]}").astype(int)
    return "zeit-cdts", meter.cost


def zeit_ccdc(given, out):
    import zeit

    bands = given.told["bands"]
    cube = np.empty((len(given.days), len(bands), given.side, given.side), np.float32)
    for k, b in enumerate(bands):
        cube[:, k] = given.layer(f"{b}.raw", "<i2")
    qa = given.layer("fmask.u8", "u1")
    use = {"detection_bands": [0, 1], "tmask_bands": [0, 1]} if len(bands) == 2 else {}

    def work(part, mask):
        return getattr(zeit, given.told["engine"])(part, qa=mask, dates=given.dates, nodata=None, n_jobs=1, **use)
    work(cube[:, :, :8, :8], qa[:, :8, :8])
    with Meter() as meter:
        o = work(cube, qa)
    broken = o["t_break"].values.astype("datetime64[D]").reshape(-1, out.shape[0])
    broken = np.sort(np.where(np.isnat(broken), 1 << 40, broken.astype(np.int64)), 0)[:COLUMNS].T
    out[:, :broken.shape[1]] = np.where(broken == 1 << 40, 0, broken)
    out[o["n_segments"].values.ravel() == 0, 0] = UNJUDGED
    return "zeit-cdts", meter.cost


def pyccd(given, out):
    warnings.filterwarnings("ignore")
    import ccd

    to_ordinal = 719163
    values = {b: given.layer(f"{b}.i16", "<i2") for b in BANDS}
    # Clear observations alone, the standard procedure always, statistics over all dates.
    settings = {"QA_BITPACKED": False, "QA_FILL": 255, "QA_CLEAR": 0, "QA_WATER": 1, "QA_SHADOW": 2, "QA_SNOW": 3, "QA_CLOUD": 4,
                "STAT_ORD": 10 ** 7, "CLEAR_PCT_THRESHOLD": 0.0}

    def work(y, x):
        seen = values["red"][:, y, x] != MISSING
        when = given.days[seen].astype(np.int64) + to_ordinal
        bands = [values[b][seen, y, x].astype(np.int64) for b in BANDS]
        thermal = (2850 + 100 * np.cos(2 * np.pi / 365.2425 * when)).astype(np.int64)
        models = ccd.detect(when, *bands, thermal, np.zeros(len(when), np.int64), params=settings)["change_models"]
        if all(m["curve_qa"] in (14, 24, 44, 54) for m in models):
            return [UNJUDGED]
        return sorted(m["break_day"] - to_ordinal for m in models if m["change_probability"] == 1)
    work(0, 0)
    with Meter() as meter:
        found = [work(y, x) for y in range(given.side) for x in range(given.side)]
    for p, breaks in enumerate(found):
        out[p, :min(len(breaks), COLUMNS)] = breaks[:COLUMNS]
    return "lcmap-pyccd", meter.cost


def nrt(given, out):
    import datetime as dt
    import importlib

    import numba
    import xarray as xr

    numba.set_num_threads(1)
    engine = given.told["engine"]
    made = getattr(importlib.import_module(f"nrt.monitor.{engine.lower()}"), engine)
    ndvi = given.ndvi()
    when = [dt.datetime.combine(d.astype(dt.date), dt.time()) for d in given.dates]

    def work(v):
        grid = dict(time=given.dates[:given.first].astype("datetime64[ns]"), y=np.arange(v.shape[1]), x=np.arange(v.shape[2]))
        monitor = made(trend=True, harmonic_order=2)
        monitor.fit(xr.DataArray(v[:given.first], dims=("time", "y", "x"), coords=grid))
        for t in range(given.first, len(when)):
            monitor.monitor(array=v[t], date=when[t])
        return monitor
    work(ndvi[:, :32, :32])
    with Meter() as meter:
        o = work(ndvi)
    out[:, 0] = np.where(o.mask == 3, o.detection_date.astype(np.int64), 0).ravel()
    return "nrt", meter.cost


def peer(told):
    """Runs one engine on the stack; prints its cost and writes its breaks."""
    from importlib.metadata import version

    engine = {"bfast": zeit_bfast, "landtrendr": zeit_landtrendr, "ccdc": zeit_ccdc, "sccd": zeit_ccdc, "pyccd": pyccd}
    given = Input(told)
    out = np.zeros((given.side ** 2, COLUMNS))
    name, cost = engine.get(told["engine"], nrt)(given, out)
    out.tofile(told["out"])
    print(json.dumps({**cost, "version": f"{name} {version(name)}"}))


# --- taking turns ------------------------------------------------------------------------------------------------------------
ONE = {k: "1" for k in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def call(command, told=None):
    """The last line of JSON that a program prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **ONE},
                          input=told)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"exit code {done.returncode}: {last}")
    return json.loads(lines[-1])


def run_ours(bench, told, stack, out, extra):
    """A turn of the benchmark."""
    options = {"stack": stack, "out": out, "method": told["method"], "settings": json.dumps(told["settings"]), **extra}
    options |= {k: v for k, v in told.items() if k in ("per-year", "block")}
    return call(bench + [x for k, v in options.items() for x in (f"--{k}", str(v))])


def agreement(ours, theirs, with_magnitude):
    """What is equal among the pixels that both judge."""
    a, b = (np.fromfile(p).reshape(-1, COLUMNS) for p in (ours, theirs))
    both = (a[:, 0] != UNJUDGED) & (b[:, 0] != UNJUDGED)
    days = slice(0, 1) if with_magnitude else slice(0, COLUMNS)
    same = (a[both, days] == b[both, days]).all(1)
    first = a[both, 0] == b[both, 0]
    alarm = (a[both, 0] > 0) == (b[both, 0] > 0)
    text = f"of {both.sum()} pixels that both judge {share(same)} have the same breaks"
    if not with_magnitude:
        text += f", {share(first)} the same first one, {share(alarm)} agree whether there is any"
    else:
        d = np.abs(a[both, 1] - b[both, 1])
        text += (f"; magnitudes differ by {np.nanmedian(d):.1g} (median), {np.nanmax(d):.1g} at most, "
                 f"{np.nanmax(d / np.abs(b[both, 1])):.1g} of themselves at most")
    return text + f"; judged by one alone: {int(((a[:, 0] == UNJUDGED) != (b[:, 0] == UNJUDGED)).sum())}"


def chosen(a, name):
    return not a.only or any(o.strip().lower() in name.lower() for o in a.only.split(","))


def share(mask):
    return f"{100 * mask.mean():.3f} %" if mask.size else "none"


def pixels(a, bench, work, stack):
    square = most_losses(stack, a.side, SQUARE)
    missing, versions, notes = {}, set(), []
    print("\n| | CPU s: median (min-max) | us a pixel | peak MB (of it start and input) | ours / it |\n|---|---|---|---|---|")
    for group, programs in GROUPS:
        if not chosen(a, group):
            continue
        small = "square" in programs[0][2]
        where = dict(side=SQUARE, row=int(square[0]), col=int(square[1])) if small else dict(side=a.side, row=0, col=0)
        costs, files = {}, {name: os.path.join(work, f"out-{k}.bin") for k, (name, *_) in enumerate(programs)}
        for r in range(a.runs):
            for name, kind, told in programs[r % len(programs):] + programs[:r % len(programs)]:
                if name in missing:
                    continue
                folder = os.path.join(work, f"{told['stack']}-{a.side}") if "stack" in told else stack
                try:
                    if kind == "ours":
                        cost = run_ours(bench, told, folder, files[name], where)
                    elif kind in a.peers:
                        told = dict(told, stack=folder, out=files[name], **where)
                        cost = call([a.peers[kind], os.path.abspath(__file__), "--as-peer"], json.dumps(told))
                        versions.add(cost["version"])
                    else:
                        missing[name] = f"no --peer {kind}=PYTHON"
                        continue
                except (RuntimeError, OSError) as e:
                    if kind == "ours":
                        fail(f"{name}: {e}")
                    missing[name] = str(e)
                    continue
                costs.setdefault(name, []).append(cost)
        count, ours = where["side"] ** 2, costs[programs[0][0]]
        print(f"| **{group}**, {count} pixels | | | | |")
        for name, kind, _ in programs:
            if name not in costs or name in missing:
                continue
            cpu = [c["cpu_s"] for c in costs[name]]
            middle = statistics.median(cpu)
            ratio = statistics.median(x["cpu_s"] / max(y["cpu_s"], 1e-9) for x, y in zip(ours, costs[name]))
            peak, start = (max(c[k] for c in costs[name]) for k in ("peak_rss_mb", "input_rss_mb"))
            print(f"| {name} | {middle:.2f} ({min(cpu):.2f}-{max(cpu):.2f}) | {1e6 * middle / count:.2f} | {peak:.0f} ({start:.0f}) | "
                  f"{'' if kind == 'ours' else f'{ratio:.2g}'} |", flush=True)
            if kind != "ours" and name not in NO_TWIN:
                notes.append(f"{group}: {name}: {agreement(files[programs[0][0]], files[name], 'BFAST' in group)}")
    print(f"\n{a.runs} rounds, one thread; peers: {', '.join(sorted(versions)) or 'none'}")
    print("\n".join(notes))
    for name, why in missing.items():
        print(f"not measured: {name}: {why}")


def growth(a, bench, work, stack):
    """Our cost by the number of pixels and of dates."""
    whole = a.side
    parts = [dict(side=whole // 4), dict(side=whole // 2), dict(side=whole), dict(side=whole, every=3, keep=2),
             dict(side=whole, every=3)]
    heads = [f"{p['side']} x {p['side']}, " + ("all dates" if "every" not in p else f"{p.get('keep', 1)} of 3") for p in parts]
    print("\nCPU s; us a pixel; ns a value\n\n| | " + " | ".join(heads) + " |\n|" + "---|" * (len(parts) + 1))
    for group, programs in GROUPS:
        _, _, told = programs[0]
        if "square" in told or "stack" in told or not chosen(a, group):
            continue
        cells = []
        for part in parts:
            at = (whole - part["side"]) // 2
            turns = [run_ours(bench, told, stack, os.path.join(work, "growth.bin"), dict(part, row=at, col=at)) for _ in range(a.runs)]
            cpu, n = statistics.median(t["cpu_s"] for t in turns), turns[0]["pixels"]
            cells.append(f"{cpu:.2f}; {1e6 * cpu / n:.2f}; {1e9 * cpu / n / turns[0]['dates']:.0f}")
        print(f"| {group} | " + " | ".join(cells) + " |", flush=True)


# --- whole runs --------------------------------------------------------------------------------------------------------------
def toml(value):
    return json.dumps(value)  # a JSON string, number or list of strings is TOML


def run_lintan(program, config):
    """A run: wall and CPU seconds, peak MB."""
    start = time.perf_counter()
    child = subprocess.Popen([program, "run", config, "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status != 0:
        fail(f"`{program} run {config}` ended with {os.waitstatus_to_exitcode(status)}, expected 0; run it by hand to see why")
    wall = time.perf_counter() - start
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall, "peak_rss_mb": used.ru_maxrss * 1024 / 1e6}


def write_parcels(path, scenes, side, cell=32):
    """Squares of `cell` pixels that cover the scene, as GeoJSON in the CRS of the rasters."""
    import rasterio

    os.makedirs(os.path.dirname(path), exist_ok=True)
    with rasterio.open(os.path.join(scenes["dir"], scenes["scenes"][0]["B04"])) as d:
        t = d.transform
    rows = []
    for r in range(0, side, cell):
        for c in range(0, side, cell):
            (x, y), (x2, y2) = t * (c, r), t * (c + cell, r + cell)
            ring = [[x, y], [x, y2], [x2, y2], [x2, y], [x, y]]
            rows.append({"type": "Feature", "properties": {"parcel_id": f"P{r // cell:02}{c // cell:02}"},
                         "geometry": {"type": "Polygon", "coordinates": [ring]}})
    code = scenes["crs"].split(":")[1]
    write(path, {"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}},
                 "features": rows})


def runs(a, work, scenes, data):
    from compare_peers import write_items

    items = write_items(data, scenes)
    names = sorted(f for f in os.listdir(items) if f.endswith(".json"))
    folder = os.path.join(work, "runs")
    config, out, own = (os.path.join(folder, name) for name in ("lintan.toml", "out", "items"))
    parcels = os.path.join(folder, "parcels.geojson")
    write_parcels(parcels, scenes, min(scenes["width"], scenes["height"]))
    methods = [("none", {}), ("monitor", MONITOR), ("bfast_monitor", BFAST_ROC), ("ccdc", CCDC_TWO),
               ("landtrendr", LANDTRENDR), ("two_date", TWO_DATE)]
    print("\n| `[change.*]` | from nothing: CPU s: median (min-max), peak MB | nothing new | one new scene | "
          "new / from nothing |\n|---|---|---|---|---|")
    for name, settings in methods:
        if not chosen(a, name):
            continue
        write_config(config, parcels, a.memory_gib, name, settings)
        costs = {"first": [], "second": [], "new": []}
        for _ in range(a.runs):
            shutil.rmtree(out, ignore_errors=True)
            put_items(items, names, own)
            costs["first"].append(run_lintan(a.lintan, config))
            costs["second"].append(run_lintan(a.lintan, config))
            shutil.rmtree(out, ignore_errors=True)
            put_items(items, names[:-1], own)
            run_lintan(a.lintan, config)
            put_items(items, names, own)
            costs["new"].append(run_lintan(a.lintan, config))
        cpu = {what: [c["cpu_s"] for c in turns] for what, turns in costs.items()}
        middle = {what: statistics.median(v) for what, v in cpu.items()}
        cells = [f"{middle[what]:.2f} ({min(cpu[what]):.2f}-{max(cpu[what]):.2f}), {max(c['peak_rss_mb'] for c in costs[what]):.0f}"
                 for what in costs]
        ratio = statistics.median(x / y for x, y in zip(cpu["new"], cpu["first"]))
        print(f"| {name} | " + " | ".join(cells) + f" | {ratio:.2f} |", flush=True)
    print(f"{len(names)} scenes, {scenes['width']} x {scenes['height']} pixels, one thread, memory_gib = {a.memory_gib}, "
          f"{a.runs} rounds")


def write_config(path, parcels, memory_gib, method, settings):
    with open(path, "w") as f:
        f.write(f"""[project]
name = "compare"
[parcels]
path = {toml(parcels)}
id = "parcel_id"
[scenes]
paths = ["items"]
[observe]
indices = ["ndvi"]
scl_clear = [4, 5, 6, 7]
pixel_m = 10
[output]
dir = "out"
[engine]
threads = 1
memory_gib = {memory_gib}
""")
        if settings:
            f.write(f"[change.{method}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in settings.items()))


def put_items(folder, names, own):
    """Copies of these Items alone, with absolute addresses."""
    shutil.rmtree(own, ignore_errors=True)
    os.makedirs(own)
    for name in names:
        with open(os.path.join(folder, name)) as f:
            value = json.load(f)
        for asset in value["assets"].values():
            asset["href"] = os.path.normpath(os.path.join(folder, asset["href"]))
        write(os.path.join(own, name), value)


def main():
    if sys.argv[1:] == ["--as-peer"]:
        peer(json.load(sys.stdin))
        return
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data")
    p.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--side", type=int, default=None, help="pixels of the square; default: the whole scene")
    p.add_argument("--work", default=None, help="folder for what is written; a temporary one by default")
    p.add_argument("--only", default="", help="parts of names of groups, with commas")
    p.add_argument("--parts", default="pixels,growth,runs")
    p.add_argument("--bench", default=None)
    p.add_argument("--lintan", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "lintan"))
    p.add_argument("--memory-gib", type=float, default=4)
    a = p.parse_args()
    a.peers = dict(x.split("=", 1) for x in a.peer)
    unknown = set(a.peers) - {"zeit", "nrt", "pyccd"}
    if unknown:
        fail(f"found --peer {', '.join(sorted(unknown))}, expected zeit, nrt or pyccd")
    data = os.path.abspath(a.data)
    try:
        with open(os.path.join(data, "scenes.json")) as f:
            scenes = json.load(f)
    except OSError as e:
        fail(f"{e}; expected a data folder with scenes.json")
    scenes["dir"] = data
    a.side = a.side or min(scenes["width"], scenes["height"])
    bench = [a.bench] if a.bench else ["cargo", "bench", "-q", "--bench", "change_stack", "--"]
    scratch = tempfile.TemporaryDirectory()
    work = os.path.abspath(a.work or scratch.name)
    os.makedirs(work, exist_ok=True)
    stack = os.path.join(work, f"stack-{a.side}")
    parts = a.parts.split(",")
    from compare_peers import machine

    print(f"{len(scenes['scenes'])} dates, {a.side} x {a.side} pixels; {machine()}, load {os.getloadavg()[0]:.1f}")
    if "pixels" in parts or "growth" in parts:
        make_stack(data, scenes, a.side, stack)
        make_yearly(a.side, os.path.join(work, f"yearly-{a.side}"))
        make_composites(stack, a.side, os.path.join(work, f"composites-{a.side}"))
    if "pixels" in parts:
        pixels(a, bench, work, stack)
    if "growth" in parts:
        growth(a, bench, work, stack)
    if "runs" in parts:
        if not os.access(a.lintan, os.X_OK):
            fail(f"found no program at {a.lintan}, expected one; run cargo build --release, or name it with --lintan")
        runs(a, work, scenes, data)


if __name__ == "__main__":
    main()
