#!/usr/bin/env python3
"""Compute expected observations of the committed products, independently of lintan.

  make_reference_values.py --testdata testdata --out testdata/reference

Uses rasterio (GDAL) to read, exactextract for coverage fractions, numpy in float64 for everything else. The mean, stddev,
min, max and count that exactextract itself gives must agree, or this script fails. The rules stand in HOW, which is
written into the result.
"""
import argparse
import glob
import json
import os
import re

import exactextract
import geopandas as gpd
import numpy as np
import rasterio
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

HOW = {
    "reflectance_sentinel2": "(DN + BOA_ADD_OFFSET) / 10000; DN 0 nodata, 65535 saturated: both tested before the offset",
    "reflectance_landsat": "DN * 0.0000275 - 0.2; DN 0 fill; a band is invalid where its QA_RADSAT bit (band - 1) is set",
    "clear_sentinel2": "SCL in 4, 5, 6; no dilation",
    "clear_landsat": "none of QA_PIXEL bits 0-5 set",
    "grid_sentinel2": "10 m; B11 and SCL repeated 2 x 2; NIR is B08 (10 m), B8A is not used",
    "indices": "ndvi (N-R)/(N+R); nbr (N-S2)/(N+S2); nbr2 (S1-S2)/(S1+S2); ndmi (N-S1)/(N+S1); evi 2.5(N-R)/(N+6R-7.5B+1); "
               "evi2 2.5(N-R)/(N+2.4R+1); savi 1.5(N-R)/(N+R+0.5); kndvi tanh(ndvi^2)",
    "index_nodata": "|denominator| < 1e-6; ndvi outside [-1, 1]; evi denominator <= 0.1; kndvi where ndvi < 0 or nodata",
    "outside_unit_range": "where listed: over water with a negative reflectance ndmi, nbr or nbr2 leave [-1, 1]; only ndvi is nodata "
                          "there, so they are kept, and they magnify rounding",
    "pixels": "sum of exact coverage fractions of the parcel over the raster, clear or not",
    "clear_pixels": "sum of coverage fractions where the pixel is clear, every band the index needs is valid, and the index is not nodata",
    "statistics": "coverage weighted over those pixels; stddev is the population standard deviation; null when clear_pixels is 0",
    "geometry": "parcels reprojected vertex by vertex into the raster CRS (geopandas to_crs)",
    "samples": "single pixels: row and column on the product's own 10 m or 30 m grid, DN as stored, reflectance, ndvi "
               "(null: nodata by the rules above), whether the pixel is clear",
}
COLUMNS = ["parcel_id", "index", "pixels", "clear_pixels", "clear_fraction", "mean", "stddev", "min", "max"]
STACK_DAYS = ["2018-05-07", "2018-07-01", "2018-08-05", "2019-07-16", "2019-09-04", "2020-07-30"]
# the hole (019), the multipolygon (044), all kinds, and parcels that touch the edge of the raster
PARCELS = ["RO-001", "RO-009", "RO-016", "RO-019", "RO-023", "RO-024", "RO-033", "RO-040", "RO-041", "RO-044"]


def normalised(a, b):
    den = a + b
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(den) < 1e-6, np.nan, (a - b) / den)


def indices(refl):
    """Every index the bands allow, NaN where nodata. `refl` holds NaN where a band is invalid."""
    b, r, n, s1, s2 = (refl.get(k) for k in ("blue", "red", "nir", "swir1", "swir2"))
    out = {}
    ndvi = normalised(n, r)
    out["ndvi"] = np.where(np.abs(ndvi) > 1, np.nan, ndvi)
    with np.errstate(divide="ignore", invalid="ignore"):
        if b is not None:
            den = n + 6 * r - 7.5 * b + 1
            out["evi"] = np.where(den <= 0.1, np.nan, 2.5 * (n - r) / den)
        for name, den, gain in (("evi2", n + 2.4 * r + 1, 2.5), ("savi", n + r + 0.5, 1.5)):
            out[name] = np.where(np.abs(den) < 1e-6, np.nan, gain * (n - r) / den)
        out["kndvi"] = np.where(out["ndvi"] < 0, np.nan, np.tanh(out["ndvi"] ** 2))
    if s1 is not None:
        out["ndmi"] = normalised(n, s1)
    if s2 is not None:
        out["nbr"] = normalised(n, s2)
        out["nbr2"] = normalised(s1, s2)
    return out


class Product:
    """DN on the product's grid, with what is needed to read them."""

    def __init__(self, paths, grid_band, reflectance):
        with rasterio.open(paths[grid_band]) as d:
            self.shape, self.bounds, self.crs, self.transform = d.shape, d.bounds, d.crs, d.transform
        self.dn = {}
        for band, path in paths.items():
            with rasterio.open(path) as d:
                a = d.read(1)
                assert d.crs == self.crs and tuple(np.round(d.bounds, 3)) == tuple(np.round(self.bounds, 3)), path
            k = self.shape[0] // a.shape[0]
            self.dn[band] = np.repeat(np.repeat(a, k, 0), k, 1)
        self.clear, self.refl = reflectance(self.dn)


def sentinel2(paths, offset):
    def reflectance(dn):
        names = {"B02": "blue", "B04": "red", "B08": "nir", "B11": "swir1"}
        refl = {}
        for band, name in names.items():
            a = dn[band].astype(float)
            refl[name] = np.where((dn[band] == 0) | (dn[band] == 65535), np.nan, (a + offset[band]) / 10000)
        return np.isin(dn["SCL"], [4, 5, 6]), refl

    return Product(paths, "B08", reflectance)


def landsat(folder, bands):
    base = os.path.join(folder, os.path.basename(folder))
    paths = {f"SR_B{b}": f"{base}_SR_B{b}.TIF" for b in bands.values()}
    paths.update({k: f"{base}_{k}.TIF" for k in ("QA_PIXEL", "QA_RADSAT")})

    def reflectance(dn):
        refl = {}
        for name, b in bands.items():
            d = dn[f"SR_B{b}"]
            bad = (d == 0) | ((dn["QA_RADSAT"] >> (b - 1)) & 1 == 1)
            refl[name] = np.where(bad, np.nan, d.astype(float) * 0.0000275 - 0.2)
        return dn["QA_PIXEL"] & 0b111111 == 0, refl

    return Product(paths, f"SR_B{bands['nir']}", reflectance)


def zonal(p, parcels):
    g = parcels.to_crs(p.crs)
    wkt, b = p.crs.to_wkt(), p.bounds

    def source(a):
        return NumPyRasterSource(a, b.left, b.bottom, b.right, b.top, srs_wkt=wkt)

    cover = exact_extract(source(np.ones(p.shape)), g, ["cell_id", "coverage"], output="pandas")
    rows, worst = [], 0.0
    for name, value in indices(p.refl).items():
        masked = np.where(p.clear, value, np.nan)
        own = exact_extract(source(masked), g, ["count", "mean", "stdev", "min", "max"], output="pandas")
        for k, parcel in enumerate(g.parcel_id):
            cell, c = cover["cell_id"][k].astype(int), cover["coverage"][k].astype(float)
            v = masked.ravel()[cell]
            use = ~np.isnan(v) & (c > 0)
            w = float(c[use].sum())
            row = [parcel, name, float(c.sum()), w, w / float(c.sum())]
            if w > 0:
                cu, vu = c[use], v[use]
                mean = float((cu * vu).sum() / w)
                row += [mean, float(np.sqrt((cu * (vu - mean) ** 2).sum() / w)), float(vu.min()), float(vu.max())]
                for mine, key in zip(row[5:], ("mean", "stdev", "min", "max")):
                    worst = max(worst, abs(mine - own[key][k]))
                # no extreme may hang on a sliver of a pixel
                if min(cu[vu == vu.min()].max(), cu[vu == vu.max()].max()) < 1e-6:
                    print(f"  note: an extreme of {parcel} {name} rests on a coverage below 1e-6")
            else:
                row += [None] * 4
            worst = max(worst, abs(w - own["count"][k]))
            rows.append(row)
    assert worst < 1e-6, worst
    return sorted(rows), worst


def samples(p, seed, count=200):
    rng = np.random.default_rng(seed)
    flat = np.sort(rng.choice(p.shape[0] * p.shape[1], count, replace=False))
    ndvi = indices(p.refl)["ndvi"]
    bands, refl = list(p.dn), list(p.refl)
    rows = []
    for i in flat:
        r, c = divmod(int(i), p.shape[1])
        num = lambda a: None if np.isnan(a[r, c]) else float(a[r, c])
        rows.append([r, c, [int(p.dn[b][r, c]) for b in bands], [num(p.refl[k]) for k in refl], num(ndvi), bool(p.clear[r, c])])
    return {"columns": ["row", "col", "dn", "reflectance", "ndvi", "clear"], "dn_bands": bands, "reflectance_bands": refl, "rows": rows}


def entry(product, scene_id, when, sensor, parcels_path, parcels, seed):
    rows, worst = ([], 0.0) if parcels is None else zonal(product, parcels)
    print(f"{scene_id}: {len(rows)} rows, largest difference to exactextract's own statistics {worst:.1e}")
    e = {"scene_id": scene_id, "acquired_at": when, "sensor": sensor, "epsg": product.crs.to_epsg(),
         "transform": list(product.transform)[:6], "shape": list(product.shape), "parcels": parcels_path,
         "columns": COLUMNS, "rows": rows}
    wild = [r[:2] for r in rows if r[1] in ("ndmi", "nbr", "nbr2") and r[7] is not None and (r[7] < -1 or r[8] > 1)]
    if wild:
        e["outside_unit_range"] = wild
    if seed is not None:
        e["samples"] = samples(product, seed)
    return e


def tag(text, name):
    return re.search(rf"<{name}[^>]*>([^<]*)</{name}>", text).group(1)


def dump(obj, path):
    """JSON with one table row a line."""
    text = json.dumps(obj, ensure_ascii=False, indent=1)
    text = re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s+\]", lambda m: "[" + re.sub(r"\n\s+", " ", m.group(1)) + "]", text)
    text = re.sub(r"\[\n\s+(\d+, *\n?\s*\d+,\s+\[[^\]]*\],\s+\[[^\]]*\],\s+[^\[\]]*?)\n\s+\]",
                  lambda m: "[" + re.sub(r"\s*\n\s*", " ", m.group(1)) + "]", text)
    assert json.loads(text) == json.loads(json.dumps(obj))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write(text + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--testdata", default="testdata", metavar="DIR")
    ap.add_argument("--out", default="testdata/reference", metavar="DIR")
    a = ap.parse_args()
    romania, products = os.path.join(a.testdata, "romania"), os.path.join(a.testdata, "products")
    ro = gpd.read_file(os.path.join(romania, "parcels.gpkg"))
    ro = ro[ro.parcel_id.isin(PARCELS)].reset_index(drop=True)
    assert len(ro) == len(PARCELS)
    mi = gpd.read_file(os.path.join(products, "parcels_michigan.geojson"))
    out = []
    for day in STACK_DAYS:
        folder = os.path.join(romania, "scenes", day)
        (item,) = glob.glob(os.path.join(folder, "*.json"))
        with open(item, encoding="utf-8") as f:
            item = json.load(f)
        used = {b: item["assets"][b] for b in ("B02", "B04", "B08", "B11", "SCL")}
        for b, asset in used.items():
            band = asset["raster:bands"][0]
            assert b == "SCL" or (band["scale"], band["offset"]) == (0.0001, 0)
        p = sentinel2({b: os.path.join(folder, x["href"]) for b, x in used.items()}, dict.fromkeys(used, 0))
        out.append(entry(p, item["id"], item["properties"]["datetime"], "S2", "romania/parcels.gpkg", ro,
                         1 if day == "2018-07-01" else None))
    for safe in sorted(glob.glob(os.path.join(products, "S2*.SAFE"))):
        with open(os.path.join(safe, "MTD_MSIL2A.xml"), encoding="utf-8") as f:
            text = f.read()
        band_id = {"B02": 1, "B04": 3, "B08": 7, "B11": 11}
        found = {int(i): int(v) for i, v in re.findall(r'<BOA_ADD_OFFSET band_id="(\d+)">(-?\d+)<', text)}
        offset = {b: found.get(i, 0) for b, i in band_id.items()}
        images = re.findall(r"<IMAGE_FILE>([^<]*)<", text)
        paths = {b: os.path.join(safe, next(i for i in images if i.endswith(end)) + ".jp2") for b, end in (
            ("B02", "B02_10m"), ("B04", "B04_10m"), ("B08", "B08_10m"), ("B11", "B11_20m"), ("SCL", "SCL_20m"))}
        e = entry(sentinel2(paths, offset), tag(text, "PRODUCT_URI").removesuffix(".SAFE"), tag(text, "PRODUCT_START_TIME"),
                  "S2B", "romania/parcels.gpkg", ro, 2)
        e["processing_baseline"] = tag(text, "PROCESSING_BASELINE")
        out.append(e)
    assert out[-1]["rows"] == out[-2]["rows"], "the two baselines must give the same reflectance"
    for pattern, sensor, bands, parcels, seed in (
            ("LE07*", "L7", {"blue": 1, "green": 2, "red": 3, "nir": 4, "swir1": 5, "swir2": 7}, mi, 3),
            ("LC08*", "L8", {"blue": 2, "green": 3, "red": 4, "nir": 5, "swir1": 6, "swir2": 7}, None, 4)):
        (folder,) = glob.glob(os.path.join(products, pattern))
        name = os.path.basename(folder)
        with open(os.path.join(folder, name + "_MTL.txt"), encoding="utf-8") as f:
            text = f.read()
        get = lambda k: re.search(rf'{k} = "?([^"\n]*)', text).group(1)
        when = f"{get('DATE_ACQUIRED')}T{get('SCENE_CENTER_TIME')[:12]}Z"
        out.append(entry(landsat(folder, bands), get("LANDSAT_PRODUCT_ID"), when, sensor,
                         None if parcels is None else "products/parcels_michigan.geojson", parcels, seed))
    versions = {"exactextract": exactextract.__version__, "numpy": np.__version__, "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__, "geopandas": gpd.__version__}
    path = os.path.join(a.out, "products.json")
    dump({"how": {"made_by": "scripts/make_reference_values.py", "versions": versions, **HOW}, "products": out}, path)
    size = os.path.getsize(path)
    print(f"{path}: {sum(len(p['rows']) for p in out)} rows, {size / 1e3:.0f} kB")
    assert size < 400e3


if __name__ == "__main__":
    main()
