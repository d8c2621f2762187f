#!/usr/bin/env python3
"""Make testdata/reference/ccdc.json: series with what lcmap-pyccd 2021.7.19 (USGS, public domain) finds in them.

  python3.11 -m venv env && env/bin/pip install numpy==1.23.5 scipy==1.10.1 scikit-learn==1.2.2 setuptools==65.5.0 \
      lcmap-pyccd==2021.7.19
  env/bin/python scripts/make_reference_ccdc.py --data ../shared/data --out testdata/reference/ccdc.json
  env/bin/python scripts/make_reference_ccdc.py --simulate 2000 --out /tmp/many.json      # a wider comparison
  env/bin/pip install rasterio==1.3.11
  env/bin/python scripts/make_reference_ccdc.py --romania ../shared/data/s2_romania_nrt/bands_20m \
      --out testdata/reference/ccdc_romania.csv

pyccd gets the clear observations only, with these settings: STAT_ORD beyond the last date (as shipped, dates after
2018-01-01 are left out of the statistics), CLEAR_PCT_THRESHOLD 0 (the standard procedure always), DETECTION_BANDS and
TMASK_BANDS as noted per series, CHANGE_THRESHOLD and OUTLIER_THRESHOLD as chi-square quantiles 0.99 and 1 - 1e-6 of the
number of detection bands; the 5 degrees of freedom that its adjustchgthresh has built in become that number, too. Bands
that a series does not have are copies of one that it has; the thermal band is a seasonal curve that takes no part.

A T-mask window of exactly 365 days has two equal pairs of columns; pyccd inverts the singular R of its QR decomposition,
and what it takes for leverages is rounding noise. With --romania each pixel is computed twice, the second time with the
leverages of the columns that differ; where the results differ, both are written.
"""
import argparse
import csv
import datetime as dt
import glob
import json
import multiprocessing
import os
import sys
import warnings

import numpy as np
from scipy import stats

warnings.filterwarnings("ignore")
import ccd  # noqa: E402
import ccd.change  # noqa: E402
import ccd.models.robust_fit as robust_fit  # noqa: E402

EPOCH = dt.date(1970, 1, 1).toordinal()
ALL = ["blue", "green", "red", "nir", "swir1", "swir2"]
FIVE = ["green", "red", "nir", "swir1", "swir2"]


class ChiSquare:
    """Stands in for scipy's chi2 in ccd.change, where the degrees of freedom are built in."""

    bands = 5

    def ppf(self, p, _):
        return stats.chi2.ppf(p, self.bands)


ccd.change.chi2 = ChiSquare()


class DistinctColumns:
    """Stands in for scipy in ccd.models.robust_fit: an R whose inverse gives the leverages of the columns that differ."""

    class linalg:  # noqa: N801
        @staticmethod
        def qr(x):
            if not (x[:, 0] == x[:, 2]).all():
                return np.linalg.qr(x)
            inverse = np.zeros((5, 5))
            _, r = np.linalg.qr(x[:, [0, 1, 4]])
            inverse[np.ix_([0, 1, 4], [0, 1, 2])] = np.linalg.inv(r)
            # The copies add next to nothing to the sums of squares.
            inverse[2, 3] = inverse[3, 4] = 1e-9
            return None, np.linalg.inv(inverse)


def number(v):
    return float(f"{v:.12g}")


def detect(series):
    """pyccd's segments of one series."""
    bands, tmask = series["bands"], series["tmask_bands"]
    values = {b: np.array(v, dtype=np.int64) for b, v in zip(bands, series["values"])}
    days = np.array(series["days"], dtype=np.int64) + EPOCH
    stand_in = {"blue": "green", "swir1": "nir", "swir2": "swir1", "green": "red"}
    for b in ["green", "swir1", "swir2", "blue"]:
        if b not in values:
            values[b] = values[stand_in[b]]
    thermal = (2850 + 100 * np.cos(2 * np.pi / 365.2425 * days)).astype(np.int64)
    ChiSquare.bands = len(bands)
    params = {
        "QA_BITPACKED": False, "QA_FILL": 255, "QA_CLEAR": 0, "QA_WATER": 1, "QA_SHADOW": 2, "QA_SNOW": 3, "QA_CLOUD": 4,
        "STAT_ORD": 10 ** 7, "CLEAR_PCT_THRESHOLD": 0.0,
        "DETECTION_BANDS": [ALL.index(b) for b in bands], "TMASK_BANDS": [ALL.index(b) for b in tmask],
        "CHANGE_THRESHOLD": float(stats.chi2.ppf(0.99, len(bands))),
        "OUTLIER_THRESHOLD": float(stats.chi2.ppf(1 - 1e-6, len(bands))),
    }
    args = [values[b] for b in ALL] + [thermal, np.zeros(len(days), np.int64)]
    found = ccd.detect(days, *args, params=params)
    segments = []
    for m in found["change_models"]:
        fits = []
        for b in bands:
            f = m[b]
            fits.append({"magnitude": number(f["magnitude"]), "rmse": number(f["rmse"]), "intercept": number(f["intercept"]),
                         "coefficients": [number(c) for c in f["coefficients"]]})
        segments.append({"start_day": m["start_day"] - EPOCH, "end_day": m["end_day"] - EPOCH, "break_day": m["break_day"] - EPOCH,
                         "observations": m["observation_count"], "probability": m["change_probability"],
                         "curve_qa": m["curve_qa"], "fits": fits})
    series["segments"] = segments
    return series


def from_csv(path, name):
    """The clear and water observations of a series in the column layout of shared/data/pixel_series."""
    with open(path) as f:
        rows = [r for r in csv.DictReader(f) if r["qa"] in ("0", "1")]
    # Blue is no detection band, and saturates first: leave out what pyccd would leave out for it alone.
    rows = [r for r in rows if 0 < int(r["blue"]) < 10000]
    rows.sort(key=lambda r: int(r["ordinal"]))
    return {"name": name, "bands": FIVE, "tmask_bands": ["green", "swir1"], "days": [int(r["ordinal"]) - EPOCH for r in rows],
            "values": [[int(r[b]) for r in rows] for b in FIVE]}


# Reflectance x 10000: mean, seasonal amplitude, noise, and the change by a clear cut.
LOOK = {"green": (450, 120, 35, 350), "red": (320, -60, 35, 600), "nir": (2900, 900, 150, -900), "swir1": (1500, 250, 90, 900),
        "swir2": (700, 60, 60, 1000)}


def simulate(k):
    """A forest pixel; cadence, clear share, noise, changes, residual cloud and bands differ from seed to seed."""
    g = np.random.default_rng(1000 + k)
    step = int(g.choice([3, 5, 8, 10, 16]))
    years = int(g.integers(2, 9)) if step > 4 else int(g.integers(2, 5))
    day = np.arange(int(g.integers(0, step)), years * 365, step) + 17000 + int(g.integers(0, 365))
    if g.random() < 0.3:
        # Two orbits: uneven gaps.
        day = np.unique(np.concatenate([day, day + step // 2 + 1]))
    summer = np.cos(2 * np.pi * (day - 200) / 365.25)
    clear = g.random(len(day)) < np.clip(g.uniform(0.3, 0.9) + 0.25 * summer, 0.05, 1)
    day, summer = day[clear], summer[clear]
    bands = [FIVE, FIVE, ["green", "red", "nir", "swir1"], ["red", "nir"]][int(g.integers(0, 4))]
    tmask = ["green", "swir1"] if "green" in bands else ["red", "nir"]
    noise, season, slope = g.uniform(0.5, 2), g.uniform(0.2, 1.3), g.normal(0, 0.05)
    change = np.zeros(len(day))
    for _ in range(int(g.choice([0, 1, 1, 2, 3]))):
        at = g.uniform(day[0], day[-1])
        depth, back = g.uniform(0.15, 1.2), g.choice([400, 3000, 10 ** 9])
        change += np.where(day >= at, depth * np.exp(-(day - at) / back), 0)
    cloud = np.where(g.random(len(day)) < g.choice([0, 0.02, 0.08]), g.uniform(300, 4000, len(day)), 0)
    cloud -= np.where(g.random(len(day)) < g.choice([0, 0.02]), 150, 0)
    values = []
    for b in FIVE:
        mean, amplitude, sigma, cut = LOOK[b]
        v = mean + season * amplitude * summer + slope * (day - day[0]) * mean / 2000 + cut * change + cloud
        v = v + g.normal(0, noise * sigma, len(day))
        if b in bands:
            values.append([int(x) for x in np.clip(np.round(v), -50, 11000)])
    return {"name": f"simulated {k}", "bands": bands, "tmask_bands": tmask, "days": [int(d) for d in day], "values": values}


def romania(folder):
    """Pixels of the 20 m stack, SCL 4, 5 and 7 taken as clear."""
    import rasterio

    def read(day, band):
        with rasterio.open(os.path.join(folder, f"{day}_{band}_20m.tif")) as d:
            return d.read(1)

    dates = sorted({os.path.basename(p)[:10] for p in glob.glob(os.path.join(folder, "*_SCL_20m.tif"))})
    names = {"green": "B03", "red": "B04", "nir": "B8A", "swir1": "B11"}
    cube = {b: np.stack([read(d, n) for d in dates]).astype(np.int64) for b, n in names.items()}
    clear = np.isin(np.stack([read(d, "SCL") for d in dates]), [4, 5, 7])
    days = np.array([dt.date.fromisoformat(d).toordinal() - EPOCH for d in dates])
    out = []
    for row in range(clear.shape[1]):
        for col in range(clear.shape[2]):
            c = clear[:, row, col]
            out.append({"name": f"romania {row} {col}", "bands": list(names), "tmask_bands": ["green", "swir1"],
                        "days": [int(d) for d in days[c]], "values": [[int(x) for x in cube[b][c, row, col]] for b in names]})
    return out


def both_leverages(series):
    """Result of pyccd as it is, and with the leverages of distinct columns."""
    results = []
    for module in [robust_fit.scipy, DistinctColumns]:
        original, robust_fit.scipy = robust_fit.scipy, module
        segments = detect(series)["segments"]
        robust_fit.scipy = original
        keys = ["start_day", "end_day", "break_day", "observations", "probability", "curve_qa"]
        results.append(";".join(":".join(f"{s[k]:g}" for k in keys) for s in segments))
    return series["name"].split()[1:], results[0], results[1] if results[1] != results[0] else ""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--data", help="folder that holds pixel_series")
    p.add_argument("--simulate", type=int, default=0, help="only this many simulated series")
    p.add_argument("--romania", help="only the pixels of this folder of 20 m bands")
    p.add_argument("--workers", type=int, default=2)
    a = p.parse_args()
    if a.romania:
        with multiprocessing.Pool(a.workers) as pool, open(a.out, "w") as f:
            f.write("row,col,segments,segments_distinct_columns\n")
            for (row, col), stock, distinct in pool.imap(both_leverages, romania(a.romania), chunksize=16):
                f.write(f"{row},{col},{stock},{distinct}\n")
        return
    if a.simulate:
        todo = [simulate(k) for k in range(a.simulate)]
    else:
        folder = os.path.join(a.data, "pixel_series")
        todo = [from_csv(f"{folder}/cold_336_3980/observations.csv", "cold_336_3980")]
        for path in sorted(glob.glob(f"{folder}/pyccd_usgs/*.csv")):
            if "coefficients" not in path:
                todo.append(from_csv(path, os.path.basename(path)[:-4]))
        todo += [simulate(k) for k in range(36)]
    with multiprocessing.Pool(a.workers) as pool:
        done = []
        for i, s in enumerate(pool.imap(detect, todo, chunksize=4)):
            done.append(s)
            if i % 200 == 199:
                print(i + 1, file=sys.stderr, flush=True)
    versions = {"lcmap-pyccd": "2021.7.19", "numpy": np.__version__}
    with open(a.out, "w") as f:
        f.write('{"made_by": "scripts/make_reference_ccdc.py", "versions": ' + json.dumps(versions) + ', "series": [\n')
        f.write(",\n".join(json.dumps(s, separators=(",", ":")) for s in done))
        f.write("\n]}\n")


if __name__ == "__main__":
    main()
