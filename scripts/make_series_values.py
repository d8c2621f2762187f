#!/usr/bin/env python3
"""Compute expected smooth and harmonic series, independently of lintan.

  make_series_values.py --out testdata/reference/series.json [--vam]

Made-up observations with a fixed seed: seasons, noise that goes together in time, gaps, weights, clouds. The smoother is
solved with dense matrices (numpy), its lambda is chosen by the V-curve of Frasso and Eilers 2015 on the stated grid. The
harmonic curve is statsmodels' RLM with Tukey's biweight on rows scaled by the root of their weight; its standard error
comes from RLM's covariance (Huber's H1). `--vam` compares lambda with the package vam-whittaker and fails where it differs.

Needs numpy and statsmodels 0.15; vam-whittaker 2.0 for --vam, which was built for numpy 1.
"""
import argparse
import json

import numpy as np
import statsmodels.api as sm

STEP = 10
GRID = np.arange(-20, 41) / 10  # log10 lambda for steps of 10 days


def observations(seed, years, every, noise, clouds, gap=None):
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(0, int(365 * years)), int(365 * years / every), replace=False))
    if gap:
        days = days[(days < gap[0]) | (days >= gap[1])]
    t = days / 365.25
    y = 0.55 + 0.02 * t + 0.22 * np.cos(2 * np.pi * (t - 0.55)) + 0.06 * np.sin(4 * np.pi * t)
    e = rng.normal(0, noise, len(days))
    for i in range(1, len(days)):  # errors that go together over some weeks
        e[i] += e[i - 1] * np.exp(-(days[i] - days[i - 1]) / 20)
    y = y + e - 0.35 * (rng.random(len(days)) < clouds)
    return days.tolist(), np.round(y, 6).tolist(), np.round(rng.uniform(0.7, 1.0, len(days)), 3).tolist()


def steps(days, y, w):
    """Weighted mean and weight of every step from the first to the last."""
    days, y, w = map(np.array, (days, y, w))
    k = days // STEP
    every = np.arange(k[0], k[-1] + 1)
    weight = np.array([w[k == i].sum() for i in every])
    mean = np.array([(w * y)[k == i].sum() for i in every]) / np.where(weight > 0, weight, 1)
    return every, mean, weight


def whittaker(y, w, lam):
    d = np.diff(np.eye(len(y)), 2, axis=0)
    a = np.diag(w) + lam * d.T @ d
    z = np.linalg.solve(a, w * y)
    inverse = np.linalg.inv(a)
    rss, m = (w * (y - z) ** 2).sum(), (w > 0).sum()
    return z, np.sqrt(rss / (m - np.trace(inverse @ np.diag(w))) * np.diag(inverse)), d @ z


def v_curve(y, w):
    points = []
    for g in GRID:
        z, _, bend = whittaker(y, w, 10 ** g)
        points.append((np.log((w * (y - z) ** 2).sum()), np.log((bend ** 2).sum())))
    v = np.hypot(*np.diff(np.array(points), axis=0).T) / np.diff(GRID)
    i = int(np.argmin(v))
    return 10 ** ((GRID[i] + GRID[i + 1]) / 2)


def harmonic(days, y, w, most):
    n = len(days)
    k = max(i for i in range(1, most + 1) if 3 * (2 + 2 * i) <= n)

    def rows(d):
        t = np.asarray(d, float) / 365.25
        columns = [np.ones_like(t), t]
        for i in range(1, k + 1):
            columns += [np.cos(2 * np.pi * i * t), np.sin(2 * np.pi * i * t)]
        return np.stack(columns, 1)

    root = np.sqrt(w)
    model = sm.RLM(root * np.array(y), root[:, None] * rows(days), M=sm.robust.norms.TukeyBiweight(4.685))
    fit = model.fit(scale_est="mad", cov="H1", tol=1e-13, maxiter=500, conv="coefs")
    every = np.arange(days[0] // STEP, days[-1] // STEP + 1)
    x = rows(np.clip((every + 0.5) * STEP, days[0], days[-1]))
    return x @ fit.params, np.sqrt(np.einsum("ij,jk,ik->i", x, fit.cov_params(), x))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True)
    ap.add_argument("--vam", action="store_true")
    a = ap.parse_args()
    cases = []
    for name, arguments, most in [
        ("three years", (1, 3, 9, 0.02, 0.0), 3),
        ("with clouds", (2, 4, 7, 0.015, 0.08), 3),
        ("with a gap", (3, 3, 8, 0.02, 0.03, (400, 560)), 2),
        ("noisy", (4, 2, 6, 0.08, 0.0), 1),
        ("few observations", (5, 2, 40, 0.01, 0.0), 3),
        ("long", (6, 8, 12, 0.02, 0.05), 3),
    ]:
        days, y, w = observations(*arguments)
        every, mean, weight = steps(days, y, w)
        lam = v_curve(mean, weight)
        z, se, _ = whittaker(mean, weight, lam)
        value, value_se = harmonic(days, y, w, most)
        if a.vam:
            from array import array

            import vam.whittaker as vam
            # It squares the weights of its misfit, so the two are one for weights of 0 and 1.
            plain = (weight > 0).astype(float)
            theirs, ours = vam.ws2doptv(mean, plain, array("d", GRID)), v_curve(mean, plain)
            off = np.abs(np.array(theirs[0]) - whittaker(mean, plain, ours)[0]).max()
            print(f"{name}: lambda {ours:.6g}, vam-whittaker {theirs[1]:.6g}, curves differ by {off:.2g}")
            assert abs(theirs[1] / ours - 1) < 1e-9, name
        cases.append({"name": name, "days": days, "mean": y, "clear_fraction": w, "lambda": lam, "smooth": z.tolist(),
                      "smooth_se": se.tolist(), "harmonics": most, "harmonic": value.tolist(), "harmonic_se": value_se.tolist()})
    with open(a.out, "w", encoding="utf-8") as f:
        f.write('{"made_by": "scripts/make_series_values.py", "step_days": 10, "cases": [\n')
        f.write(",\n".join(json.dumps(c) for c in cases))
        f.write("\n]}\n")


if __name__ == "__main__":
    main()
