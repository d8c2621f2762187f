#!/usr/bin/env python3
"""Writes testdata/reference/landtrendr.json: simulated yearly series and what zeit-cdts makes of them.

zeit-cdts (PyPI, GPL) is run as a program; none of its code is used. Python 3.11:
    pip install zeit-cdts==2.2.0
    python scripts/make_reference_landtrendr.py [FILE] [SERIES A KIND] [SEED]
Series: noise, fellings with regrowth, spikes, trends, random walks, values rounded to 0.1 (ties), a step without noise; a
third with missing years. Missing years at the ends are left off: zeit-cdts adds vertices there.
"""
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import zeit

OUT = Path(__file__).resolve().parent.parent / "testdata/reference/landtrendr.json"
KINDS = ("noise", "felling", "spiky", "spiky felling", "trend", "walk", "rounded", "step")
SETTINGS = [
    dict(max_segments=6, spike_threshold=0.9, vertex_count_overshoot=3, recovery_threshold=0.25, pval_threshold=0.1, best_model_proportion=0.75),
    dict(max_segments=8, spike_threshold=0.75, vertex_count_overshoot=3, recovery_threshold=0.5, pval_threshold=0.05, best_model_proportion=0.75),
    dict(max_segments=3, spike_threshold=1.0, vertex_count_overshoot=0, recovery_threshold=1.0, pval_threshold=0.1, best_model_proportion=0.5),
    dict(max_segments=5, spike_threshold=0.9, vertex_count_overshoot=1, recovery_threshold=0.2, pval_threshold=0.01, best_model_proportion=1.0),
]


def series(rng, kind):
    n = int(rng.integers(6, 41))
    t = np.arange(n)
    v = rng.uniform(0.3, 0.9) + rng.normal(0, rng.choice([0.005, 0.02, 0.05]), n)
    if "felling" in kind or kind == "rounded":
        for _ in range(int(rng.integers(1, 4))):
            b, drop = int(rng.integers(1, n)), rng.uniform(0.1, 0.7)
            v[b:] -= drop
            if rng.random() < 0.8:
                v[b:] += drop * rng.uniform(0.3, 1.1) * (1 - np.exp(-(t[b:] - b) / rng.uniform(1, 15)))
    if "spiky" in kind:
        for _ in range(int(rng.integers(1, 5))):
            v[int(rng.integers(0, n))] += rng.normal(0, 0.4)
    if kind == "trend":
        v += np.linspace(0, rng.normal(0, 0.5), n)
    if kind == "walk":
        v = np.cumsum(rng.normal(0, 0.1, n))
    if kind == "rounded":
        v = np.round(v, 1)
    if kind == "step":
        v = np.where(t < n // 2, 0.8, 0.3)
    years = 1985 + t
    if rng.random() < 0.33:
        keep = rng.random(n) >= rng.choice([0.1, 0.3])
        if keep.sum() >= 6:
            first, last = np.flatnonzero(keep)[[0, -1]]
            v = np.where(keep, v, np.nan)[first : last + 1]
            years = years[first : last + 1]
    return years, np.round(v.astype(float), 4)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    each = int(sys.argv[2]) if len(sys.argv) > 2 else 11
    rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 20260101)
    rows = []
    for _ in range(each):
        for kind in KINDS:
            for number, setting in enumerate(SETTINGS):
                years, v = series(rng, kind)
                o = zeit.landtrendr(v.tolist(), years=years.tolist(), nodata=None, n_jobs=1, prevent_fast_recovery=False, **setting)
                m = int(o.n_vertices)
                rows.append(
                    dict(
                        kind=kind,
                        setting=number,
                        first_year=int(years[0]),
                        values=[None if np.isnan(x) else x for x in v.tolist()],
                        vertex_years=[int(y) for y in o.vertex_year.values[:m]],
                        vertex_values=[float(f"{x:.8g}") for x in o.vertex_value.values[:m]],
                        rmse=float(f"{float(o.rmse):.8g}"),
                    )
                )
    head = dict(made_by="scripts/make_reference_landtrendr.py with zeit-cdts " + version("zeit-cdts"), settings=SETTINGS)
    lines = ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows)
    out.write_text(json.dumps(head)[:-1] + ',\n"cases": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
