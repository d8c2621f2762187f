#!/usr/bin/env python3
"""Compute expected area-adjusted accuracies from single samples, independently of lintan.

  make_accuracy_values.py --out testdata/reference/accuracy.json [--survey]

No formula of Olofsson et al. 2014 is used: every figure is a stratified mean, or a ratio of two, of indicator variables
over the single samples, with the sample variance within each stratum (Taylor linearisation for ratios; Cochran 1977,
chapters 5 and 6). Half widths are 1.96 standard errors. `--survey` has the R package survey compute the same and
fails where it disagrees.
"""
import argparse
import json
import subprocess
import tempfile

import numpy as np

CASES = {
    "change by hand": (["change", "stable"], [[44, 6], [3, 97]], [180, 2820]),
    "rare change": (["disturbed", "stable"], [[71, 4], [2, 598]], [35.25, 48_210.5]),
    "no omission": (["disturbed", "stable"], [[40, 10], [0, 200]], [12.5, 900]),
    "nothing mapped right": (["disturbed", "stable"], [[0, 25], [4, 96]], [12.5, 900]),
    "four classes": (["deforestation", "gain", "forest", "other"],
                     [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]], [18_000, 13_500, 288_000, 580_500]),
    "uneven": (["a", "b", "c"], [[2, 1, 0], [7, 30, 3], [0, 1, 2]], [0.7, 4000, 153.2]),
}


def estimate(counts, areas):
    counts, areas = np.array(counts), np.array(areas, float)
    n = len(areas)
    stratum = np.concatenate([np.repeat(i, counts[i].sum()) for i in range(n)])
    reference = np.concatenate([np.repeat(np.arange(n), counts[i]) for i in range(n)])
    weight = areas / areas.sum()

    def mean(y):
        parts = [y[stratum == i] for i in range(n)]
        variance = sum(w * w * p.var(ddof=1) / len(p) for w, p in zip(weight, parts))
        return sum(w * p.mean() for w, p in zip(weight, parts)), 1.96 * np.sqrt(variance)

    def ratio(y, x):
        r = mean(y)[0] / mean(x)[0]
        return r, mean(y - r * x)[1] / mean(x)[0]

    out = {}
    out["overall_accuracy"], out["overall_accuracy_ci95"] = mean((stratum == reference).astype(float))
    columns = {k: [] for k in ("area_ha", "users_accuracy", "producers_accuracy")}
    for j in range(n):
        is_reference, is_map = (reference == j).astype(float), (stratum == j).astype(float)
        area, width = mean(is_reference)
        columns["area_ha"].append((area * areas.sum(), width * areas.sum()))
        columns["users_accuracy"].append(ratio(is_reference * is_map, is_map))
        columns["producers_accuracy"].append(ratio(is_reference * is_map, is_reference))
    for key, pairs in columns.items():
        width = key.replace("_ha", "_ci95_ha") if key == "area_ha" else key + "_ci95"
        out[key], out[width] = [p[0] for p in pairs], [p[1] for p in pairs]
    return out


SURVEY = r"""
suppressMessages(library(survey))
d <- read.csv(commandArgs(TRUE)[1])
s <- svydesign(ids = ~1, strata = ~stratum, weights = ~weight, data = d)
show <- function(x, se) cat(sprintf("%.17g %.17g\n", as.numeric(x), 1.96 * as.numeric(se)))
m <- svymean(~as.numeric(stratum == reference), s); show(m, SE(m))
for (j in 0:max(d$stratum)) {
  s$variables$r <- as.numeric(d$reference == j); s$variables$m <- as.numeric(d$stratum == j)
  s$variables$b <- s$variables$r * s$variables$m
  t <- svytotal(~r, s); show(t, SE(t))
  for (x in c(~m, ~r)) { t <- svyratio(~b, x, s); show(coef(t), SE(t)) }
}
"""


def check_with_survey(name, counts, areas, found):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/d.csv", "w", encoding="utf-8") as f:
            f.write("stratum,reference,weight\n")
            for i, row in enumerate(counts):
                for j, k in enumerate(row):
                    f.write(f"{i},{j},{areas[i] / sum(row):.17g}\n" * k)
        with open(f"{folder}/s.R", "w", encoding="utf-8") as f:
            f.write(SURVEY)
        text = subprocess.run(["Rscript", f"{folder}/s.R", f"{folder}/d.csv"], check=True, capture_output=True, text=True).stdout
    r = np.array([line.split() for line in text.splitlines()], float)
    ours = [(found["overall_accuracy"], found["overall_accuracy_ci95"])]
    for j in range(len(areas)):
        ours += [(found[k][j], found[w][j]) for k, w in (("area_ha", "area_ci95_ha"), ("users_accuracy", "users_accuracy_ci95"),
                                                         ("producers_accuracy", "producers_accuracy_ci95"))]
    worst = np.abs(r - ours).max() / max(1.0, np.abs(r).max())
    print(f"{name}: R survey differs by {worst:.2g}")
    assert worst < 1e-10, name


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True)
    ap.add_argument("--survey", action="store_true")
    a = ap.parse_args()
    cases = []
    for name, (classes, counts, areas) in CASES.items():
        found = estimate(counts, areas)
        if a.survey:
            check_with_survey(name, counts, areas, found)
        cases.append({"name": name, "classes": classes, "counts": counts, "mapped_area_ha": areas, **found})
    with open(a.out, "w", encoding="utf-8") as f:
        json.dump({"made_by": "scripts/make_accuracy_values.py", "cases": cases}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
