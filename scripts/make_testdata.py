#!/usr/bin/env python3
"""Build the committed test data from the shared data folder. The result depends on the inputs alone.

  make_testdata.py --data DIR --out testdata

Writes:
  romania/    a Sentinel-2 stack as STAC Items, with parcels (EUPL-1.2)
  products/   two SAFE products of one acquisition, a Landsat 7 and a Landsat 8 product, parcels in Michigan

Rules, so that nobody has to guess why a file is there:
  * Stack dates: from 2018-05-01 to 2020-10-31, every date on which at least 40 % of the 20 m SCL is 4, 5, 6 or 7, and the
    first date of each year on which none of it is (so that rows without a clear pixel exist). The SAFE date is left out.
  * SAFE date: June to September 2020, a Sentinel-2B day, at least 70 % SCL 4, 5, 6; of those the one with the most
    different classes, so that masks matter. Sentinel-2B days: 2015-08-01 was 2A's (2B did not fly yet) and each
    satellite returns after 10 days.
  * kind: `damaged` are the eight parcels with the largest reference gap area of 2019 and 2020 together, `reference` the
    five largest without a gap in any year, the rest `compensation_base`.
  * lin_xing: mean tree cover density 2018 of the parcel, 20 % or more 阔叶林, less 疏林地. (NDVI there falls from 0.87 in
    July to about 0.5 in early April in every parcel: broadleaf, no conifers to tell apart.) A demonstration attribute.
  * Landsat 8 crop: the 96 x 96 px (corners every 4 px) with the most different QA_PIXEL values, then the largest clear share.
  * Michigan parcels: see `michigan_parcels`.
Needs the packages of requirements.txt and gdal_translate with the JP2OpenJPEG driver.
"""
import argparse
import csv
import datetime as dt
import glob
import hashlib
import json
import math
import os
import shutil
import subprocess
import tempfile

os.environ["OGR_CURRENT_DATE"] = "2024-01-01T00:00:00.000Z"  # the time stamp in a GeoPackage

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.windows
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from rasterio.warp import transform, transform_bounds

FIRST, LAST = "2018-05-01", "2020-10-31"
BANDS = {"B02": "10m", "B04": "10m", "B08": "10m", "B8A": "20m", "B11": "20m", "SCL": "20m"}
COMMON = {"B02": "blue", "B04": "red", "B08": "nir", "B8A": "nir08", "B11": "swir16"}
TILE, ORBIT, TIME = "T34TFR", 93, "092031"
LC08 = "LC08_L2SP_008059_20191201_20200825_02_T1"
LE07 = "LE07_L2SP_023028_20110907_20200909_02_T1"


def read(path):
    with rasterio.open(path) as d:
        return d.read(1)


def write_text(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write(text)


def copy(src, dst):
    os.makedirs(os.path.dirname(dst), exist_ok=True)
    shutil.copyfile(src, dst)  # contents only: neither mode nor times


# ---- Romania: the stack ----------------------------------------------------------------------------------------------

def band_path(rom, day, band, res):
    return os.path.join(rom, f"bands_{res}", f"{day}_{band}_{res}.tif")


def choose_days(rom):
    """(days of the stack, day of the SAFE products)"""
    scl = {}
    for p in sorted(glob.glob(os.path.join(rom, "bands_20m", "*_SCL_20m.tif"))):
        day = os.path.basename(p)[:10]
        if FIRST <= day <= LAST:
            scl[day] = read(p)
    epoch = dt.date(2015, 8, 1)

    def safe_rank(day):
        classes, clear = len(np.unique(scl[day])), np.isin(scl[day], [4, 5, 6]).mean()
        second = (dt.date.fromisoformat(day) - epoch).days % 10 == 5
        ok = "2020-06-01" <= day <= "2020-09-30" and second and clear >= 0.7
        return (ok, classes, clear, day)

    safe = max(scl, key=safe_rank)
    days, dark_years = [], set()
    for day, s in scl.items():
        share = np.isin(s, [4, 5, 6, 7]).mean()
        if day == safe:
            continue
        if share >= 0.4:
            days.append(day)
        elif share == 0 and day[:4] not in dark_years:
            dark_years.add(day[:4])
            days.append(day)
    return days, safe


def stac_item(folder, day):
    assets = {}
    for band, res in BANDS.items():
        name = f"{day}_{band}_{res}.tif"
        with rasterio.open(os.path.join(folder, name)) as d:
            t = d.transform
            raster = {"data_type": d.dtypes[0], "nodata": 0, "spatial_resolution": t.a}
            if band != "SCL":
                raster.update(scale=0.0001, offset=0)
            a = {"href": "./" + name, "type": "image/tiff; application=geotiff", "roles": ["data"],
                 "proj:shape": [d.height, d.width], "proj:transform": [t.a, t.b, t.c, t.d, t.e, t.f],
                 "raster:bands": [raster]}
            if band in COMMON:
                a["eo:bands"] = [{"name": band, "common_name": COMMON[band]}]
            assets[band] = a
            box, epsg = transform_bounds(d.crs, "EPSG:4326", *d.bounds), d.crs.to_epsg()
    box = [round(v, 7) for v in box]
    w, s, e, n = box
    ext = "https://stac-extensions.github.io/"
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2_ROMANIA_" + day.replace("-", ""),
        "stac_extensions": [ext + "projection/v1.1.0/schema.json", ext + "raster/v1.1.0/schema.json",
                            ext + "eo/v1.1.0/schema.json"],
        "bbox": box,
        "geometry": {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]},
        "properties": {"datetime": day + "T09:20:00Z", "platform": "sentinel-2", "constellation": "sentinel-2",
                       "instruments": ["msi"], "proj:epsg": epsg, "s2:processing_baseline": "02.00",
                       "license": "EUPL-1.2"},
        "links": [], "assets": assets}


def romania(rom, out, days):
    for day in days:
        folder = os.path.join(out, "scenes", day)
        for band, res in BANDS.items():
            copy(band_path(rom, day, band, res), os.path.join(folder, f"{day}_{band}_{res}.tif"))
        it = stac_item(folder, day)
        write_text(os.path.join(folder, it["id"] + ".json"), json.dumps(it, separators=(",", ":")) + "\n")
    parcels(rom, os.path.join(out, "parcels.gpkg"))
    copy(os.path.join(rom, "LICENSE.EUPL-1.2.txt"), os.path.join(out, "LICENSE.EUPL-1.2.txt"))
    write_text(os.path.join(out, "ATTRIBUTION.md"), ROMANIA_ATTRIBUTION.format(n=len(days), first=days[0], last=days[-1]))


def parcels(rom, path):
    g = gpd.read_file(os.path.join(rom, "parcels", "parcels_plausible.gpkg")).set_index("parcel_id", drop=False)
    with open(os.path.join(rom, "parcels", "reference_gap_area_by_parcel.csv"), encoding="utf-8") as f:
        gap = {r["parcel_id"]: {k[-4:]: float(v) for k, v in r.items() if k.startswith("ref_gap")} for r in csv.DictReader(f)}
    damaged = sorted(gap, key=lambda i: (-(gap[i]["2019"] + gap[i]["2020"]), i))[:8]
    whole = [i for i in g.index if not any(gap[i].values())]
    reference = sorted(whole, key=lambda i: (-g.area_ha[i], i))[:5]
    g["kind"] = ["damaged" if i in damaged else "reference" if i in reference else "compensation_base" for i in g.index]
    with rasterio.open(os.path.join(rom, "original", "tree_cover_density_2018_romania.tif")) as d:
        cover = NumPyRasterSource(d.read(1).astype(float), *d.bounds, nodata=d.nodata, srs_wkt=g.crs.to_wkt())
    g["lin_xing"] = np.where(exact_extract(cover, g, ["mean"], output="pandas")["mean"].to_numpy() >= 20, "阔叶林", "疏林地")
    g["origin"] = "drawn for tests, not real parcels"
    cols = ["parcel_id", "kind", "lin_xing", "compartment", "subcompartment", "area_ha", "origin", "geometry"]
    if os.path.exists(path):
        os.remove(path)
    g[cols].to_file(path, layer="parcels", driver="GPKG", engine="pyogrio", index=False)


# ---- Sentinel-2 SAFE -------------------------------------------------------------------------------------------------

SAFE_BANDS = [("10m", b) for b in ("B02", "B03", "B04", "B08")] + [("20m", b) for b in ("B03", "B04", "B8A", "B11", "SCL")]
# physical band, resolution, wavelength min, max, centre (nm), solar irradiance (W/m2/um) of MSI on Sentinel-2B
SPECTRAL = [("B1", 60, 411, 456, 442.3, 1874.3), ("B2", 10, 456, 532, 492.3, 1959.75), ("B3", 10, 536, 582, 559.0, 1824.93),
            ("B4", 10, 646, 685, 665.0, 1512.79), ("B5", 20, 694, 714, 703.8, 1425.78), ("B6", 20, 730, 748, 739.1, 1291.13),
            ("B7", 20, 766, 794, 779.7, 1175.57), ("B8", 10, 774, 907, 833.0, 1041.28), ("B8A", 20, 848, 881, 864.0, 953.93),
            ("B9", 60, 930, 957, 943.2, 817.58), ("B10", 60, 1338, 1414, 1376.9, 365.41),
            ("B11", 20, 1538, 1679, 1610.4, 247.08), ("B12", 20, 2065, 2303, 2185.7, 87.75)]
SCL_NAMES = ["NODATA_PIXEL", "SATURATED_DEFECTIVE_PIXEL", "DARK_FEATURES", "CLOUD_SHADOW", "VEGETATION", "NOT_VEGETATED",
             "WATER", "UNCLASSIFIED", "MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS", "SNOW_ICE"]


def sun(day, lon, lat):
    """Solar zenith and azimuth in degrees at 09:20:31 UTC (Spencer's series, about 0.1 degrees)."""
    doy = dt.date.fromisoformat(day).timetuple().tm_yday
    hour = 9 + 20 / 60 + 31 / 3600
    g = 2 * math.pi / 365 * (doy - 1 + (hour - 12) / 24)
    dec = (0.006918 - 0.399912 * math.cos(g) + 0.070257 * math.sin(g) - 0.006758 * math.cos(2 * g)
           + 0.000907 * math.sin(2 * g) - 0.002697 * math.cos(3 * g) + 0.00148 * math.sin(3 * g))
    eot = 229.18 * (0.000075 + 0.001868 * math.cos(g) - 0.032077 * math.sin(g) - 0.014615 * math.cos(2 * g)
                    - 0.040849 * math.sin(2 * g))
    ha = math.radians(((hour * 60 + eot + 4 * lon) / 4) - 180)
    la = math.radians(lat)
    z = math.acos(math.sin(la) * math.sin(dec) + math.cos(la) * math.cos(dec) * math.cos(ha))
    az = math.atan2(math.sin(ha), math.cos(ha) * math.sin(la) - math.tan(dec) * math.cos(la))
    return math.degrees(z), (math.degrees(az) + 180) % 360


def jp2(array, profile, path):
    """Write lossless JPEG 2000 in 64 x 64 tiles, and check that it reads back the same."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        tif = os.path.join(tmp, "band.tif")
        with rasterio.open(tif, "w", driver="GTiff", width=array.shape[1], height=array.shape[0], count=1,
                           dtype=array.dtype, crs=profile["crs"], transform=profile["transform"]) as d:
            d.write(array, 1)
        subprocess.run(["gdal_translate", "-q", "-of", "JP2OpenJPEG", "-co", "QUALITY=100", "-co", "REVERSIBLE=YES",
                        "-co", "BLOCKXSIZE=64", "-co", "BLOCKYSIZE=64", "--config", "GDAL_PAM_ENABLED", "NO", tif, path],
                       check=True)
    with rasterio.open(path) as d:
        same = np.array_equal(d.read(1), array) and d.crs.to_epsg() == 3035
        assert same and d.transform.almost_equals(profile["transform"], 1e-6), path


def quality(scl):
    share = [100.0 * (scl == k).mean() for k in range(12)]
    cloudy = share[8] + share[9] + share[10]
    rows = [("CLOUDY_PIXEL_OVER_LAND_PERCENTAGE", cloudy)]
    rows += [(n + "_PERCENTAGE", share[i])
             for i, n in enumerate(SCL_NAMES)]
    lines = [f"            <{n}>{v:.6f}</{n}>" for n, v in rows]
    lines += [f"            <{n}>0.0</{n}>" for n in ("RADIATIVE_TRANSFER_ACCURACY", "WATER_VAPOUR_RETRIEVAL_ACCURACY",
                                                      "AOT_RETRIEVAL_ACCURACY")]
    return cloudy, "\n".join(lines)


def safe_product(rom, out, day, baseline, generated, offset):
    d8 = day.replace("-", "")
    gen_iso = dt.datetime.strptime(generated, "%Y%m%dT%H%M%S").strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    start, orbit_abs = f"{day}T09:20:31.024Z", 18318
    name = f"S2B_MSIL2A_{d8}T{TIME}_N{baseline.replace('.', '')}_R{ORBIT:03d}_{TILE}_{generated}.SAFE"
    root = os.path.join(out, name)
    granule = f"L2A_{TILE}_A{orbit_abs:06d}_{d8}T{TIME}"
    with rasterio.open(band_path(rom, day, "B08", "10m")) as d:
        crs, t, bounds, shape = d.crs, d.transform, d.bounds, d.shape
    images = []
    for res, band in SAFE_BANDS:
        with rasterio.open(band_path(rom, day, band, res)) as d:
            a, profile = d.read(1), {"crs": crs, "transform": d.transform}
        if band != "SCL" and offset:
            assert a.max() < 65535 - 1000
            a = np.where(a == 0, 0, a.astype("int32") - offset).astype("uint16")
        rel = f"GRANULE/{granule}/IMG_DATA/R{res}/{TILE}_{d8}T{TIME}_{band}_{res}"
        jp2(a, profile, os.path.join(root, rel + ".jp2"))
        images.append(rel)
    scl = read(band_path(rom, day, "SCL", "20m"))
    cloudy, qi = quality(scl)
    xs, ys = [bounds.left, bounds.right, bounds.right, bounds.left, bounds.left], [bounds.top, bounds.top, bounds.bottom, bounds.bottom, bounds.top]
    lon, lat = transform(crs, "EPSG:4326", xs, ys)
    footprint = " ".join(f"{la:.9f} {lo:.9f}" for lo, la in zip(lon, lat))
    zen, azi = sun(day, sum(lon[:4]) / 4, sum(lat[:4]) / 4)
    site = "MPS_" if baseline < "04" else "2APS"
    ids = {k: f"S2B_OPER_MSI_{lev}_{kind}_{site}_{generated}_{tail}_N{baseline}" for k, lev, kind, tail in (
        ("ds", "L2A", "DS", f"S{d8}T{TIME}"), ("tl", "L2A", "TL", f"A{orbit_abs:06d}_{TILE}"), ("l1", "L1C", "TL", f"A{orbit_abs:06d}_{TILE}"))}

    doi = "\n            <PRODUCT_DOI>https://doi.org/10.5270/S2_-znk9xsj</PRODUCT_DOI>" if baseline >= "04" else ""
    offsets = "".join(f'\n                <BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(13))
    offsets = f"\n            <BOA_ADD_OFFSET_VALUES_LIST>{offsets}\n            </BOA_ADD_OFFSET_VALUES_LIST>" if offset else ""
    u = 1 + 0.0334 * math.cos(2 * math.pi * (dt.date.fromisoformat(day).timetuple().tm_yday - 3) / 365.25)
    irradiance = "\n".join(f'                    <SOLAR_IRRADIANCE bandId="{i}" unit="W/m²/µm">{s[5]}</SOLAR_IRRADIANCE>' for i, s in enumerate(SPECTRAL))
    spectral = "\n".join(f"""                <Spectral_Information bandId="{i}" physicalBand="{s[0]}">
                    <RESOLUTION>{s[1]}</RESOLUTION>
                    <Wavelength>
                        <MIN unit="nm">{s[2]}</MIN>
                        <MAX unit="nm">{s[3]}</MAX>
                        <CENTRAL unit="nm">{s[4]}</CENTRAL>
                    </Wavelength>
                </Spectral_Information>""" for i, s in enumerate(SPECTRAL))
    classes = "\n".join(f"""                <Scene_Classification_ID>
                    <SCENE_CLASSIFICATION_TEXT>SC_{n}</SCENE_CLASSIFICATION_TEXT>
                    <SCENE_CLASSIFICATION_INDEX>{i}</SCENE_CLASSIFICATION_INDEX>
                </Scene_Classification_ID>""" for i, n in enumerate(SCL_NAMES))
    files = "\n".join(f"                        <IMAGE_FILE>{i}</IMAGE_FILE>" for i in images)
    write_text(os.path.join(root, "MTD_MSIL2A.xml"), f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
    <n1:General_Info>
        <Product_Info>
            <PRODUCT_START_TIME>{start}</PRODUCT_START_TIME>
            <PRODUCT_STOP_TIME>{start}</PRODUCT_STOP_TIME>
            <PRODUCT_URI>{name}</PRODUCT_URI>
            <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
            <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
            <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>{doi}
            <GENERATION_TIME>{gen_iso}</GENERATION_TIME>
            <PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
            <PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
            <Datatake datatakeIdentifier="GS2B_{d8}T{TIME}_{orbit_abs:06d}_N{baseline}">
                <SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME>
                <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
                <DATATAKE_SENSING_START>{start}</DATATAKE_SENSING_START>
                <SENSING_ORBIT_NUMBER>{ORBIT}</SENSING_ORBIT_NUMBER>
                <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
            </Datatake>
            <Query_Options completeSingleTile="true">
                <PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
            </Query_Options>
            <Product_Organisation>
                <Granule_List>
                    <Granule datastripIdentifier="{ids['ds']}" granuleIdentifier="{ids['tl']}" imageFormat="JPEG2000">
{files}
                    </Granule>
                </Granule_List>
            </Product_Organisation>
        </Product_Info>
        <Product_Image_Characteristics>
            <Special_Values>
                <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
                <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
            </Special_Values>
            <Special_Values>
                <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
                <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
            </Special_Values>
            <Image_Display_Order>
                <RED_CHANNEL>3</RED_CHANNEL>
                <GREEN_CHANNEL>2</GREEN_CHANNEL>
                <BLUE_CHANNEL>1</BLUE_CHANNEL>
            </Image_Display_Order>
            <QUANTIFICATION_VALUES_LIST>
                <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
                <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
                <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
            </QUANTIFICATION_VALUES_LIST>{offsets}
            <Reflectance_Conversion>
                <U>{u:.12f}</U>
                <Solar_Irradiance_List>
{irradiance}
                </Solar_Irradiance_List>
            </Reflectance_Conversion>
            <Spectral_Information_List>
{spectral}
            </Spectral_Information_List>
            <PHYSICAL_GAINS bandId="0">1.0</PHYSICAL_GAINS>
            <REFERENCE_BAND>0</REFERENCE_BAND>
            <Scene_Classification_List>
{classes}
            </Scene_Classification_List>
        </Product_Image_Characteristics>
    </n1:General_Info>
    <n1:Geometric_Info>
        <Product_Footprint>
            <Product_Footprint>
                <Global_Footprint>
                    <EXT_POS_LIST>{footprint} </EXT_POS_LIST>
                </Global_Footprint>
            </Product_Footprint>
            <RASTER_CS_TYPE>POINT</RASTER_CS_TYPE>
            <PIXEL_ORIGIN>1</PIXEL_ORIGIN>
        </Product_Footprint>
        <Coordinate_Reference_System>
            <GEO_TABLES version="1">EPSG</GEO_TABLES>
            <HORIZONTAL_CS_TYPE>GEOGRAPHIC</HORIZONTAL_CS_TYPE>
        </Coordinate_Reference_System>
    </n1:Geometric_Info>
    <n1:Auxiliary_Data_Info/>
    <n1:Quality_Indicators_Info>
        <Cloud_Coverage_Assessment>{cloudy:.6f}</Cloud_Coverage_Assessment>
        <Technical_Quality_Assessment>
            <DEGRADED_ANC_DATA_PERCENTAGE>0.0</DEGRADED_ANC_DATA_PERCENTAGE>
            <DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
        </Technical_Quality_Assessment>
        <Image_Content_QI>
{qi}
        </Image_Content_QI>
    </n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>
""")

    sizes = "\n".join(f"""            <Size resolution="{r}">
                <NROWS>{shape[0] * 10 // r}</NROWS>
                <NCOLS>{shape[1] * 10 // r}</NCOLS>
            </Size>""" for r in (10, 20, 60))
    positions = "\n".join(f"""            <Geoposition resolution="{r}">
                <ULX>{t.c!r}</ULX>
                <ULY>{t.f!r}</ULY>
                <XDIM>{r}</XDIM>
                <YDIM>-{r}</YDIM>
            </Geoposition>""" for r in (10, 20, 60))
    grid = "\n".join(f"""                <{tag}>
                    <COL_STEP unit="m">5000</COL_STEP>
                    <ROW_STEP unit="m">5000</ROW_STEP>
                    <Values_List>
                        <VALUES>{v:.4f} {v:.4f}</VALUES>
                        <VALUES>{v:.4f} {v:.4f}</VALUES>
                    </Values_List>
                </{tag}>""" for tag, v in (("Zenith", zen), ("Azimuth", azi)))
    views = "\n".join(f"""                <Mean_Viewing_Incidence_Angle bandId="{i}">
                    <ZENITH_ANGLE unit="deg">5.2</ZENITH_ANGLE>
                    <AZIMUTH_ANGLE unit="deg">104.6</AZIMUTH_ANGLE>
                </Mean_Viewing_Incidence_Angle>""" for i in range(13))
    write_text(os.path.join(root, "GRANULE", granule, "MTD_TL.xml"), f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
    <n1:General_Info>
        <L1C_TILE_ID metadataLevel="Brief">{ids['l1']}</L1C_TILE_ID>
        <TILE_ID metadataLevel="Brief">{ids['tl']}</TILE_ID>
        <DATASTRIP_ID metadataLevel="Standard">{ids['ds']}</DATASTRIP_ID>
        <DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
        <SENSING_TIME metadataLevel="Standard">{day}T09:20:40.625508Z</SENSING_TIME>
        <Archiving_Info metadataLevel="Expertise">
            <ARCHIVING_CENTRE>{site}</ARCHIVING_CENTRE>
            <ARCHIVING_TIME>{gen_iso}</ARCHIVING_TIME>
        </Archiving_Info>
    </n1:General_Info>
    <n1:Geometric_Info>
        <Tile_Geocoding metadataLevel="Brief">
            <HORIZONTAL_CS_NAME>ETRS89-extended / LAEA Europe</HORIZONTAL_CS_NAME>
            <HORIZONTAL_CS_CODE>EPSG:3035</HORIZONTAL_CS_CODE>
{sizes}
{positions}
        </Tile_Geocoding>
        <Tile_Angles metadataLevel="Standard">
            <Sun_Angles_Grid>
{grid}
            </Sun_Angles_Grid>
            <Mean_Sun_Angle>
                <ZENITH_ANGLE unit="deg">{zen:.10f}</ZENITH_ANGLE>
                <AZIMUTH_ANGLE unit="deg">{azi:.10f}</AZIMUTH_ANGLE>
            </Mean_Sun_Angle>
            <Mean_Viewing_Incidence_Angle_List>
{views}
            </Mean_Viewing_Incidence_Angle_List>
        </Tile_Angles>
    </n1:Geometric_Info>
    <n1:Quality_Indicators_Info metadataLevel="Standard">
        <Image_Content_QI>
            <CLOUDY_PIXEL_PERCENTAGE>{cloudy:.6f}</CLOUDY_PIXEL_PERCENTAGE>
            <DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
{qi}
        </Image_Content_QI>
    </n1:Quality_Indicators_Info>
</n1:Level-2A_Tile_ID>
""")
    write_text(os.path.join(root, "NOTE_NOT_AN_ESA_PRODUCT.txt"), f"""Not an ESA product: a small test product in the SAFE layout, made by scripts/make_testdata.py.
Real: the pixel values of {day} (Sentinel-2 surface reflectance over 1 km x 1 km in Romania, package nrt, EUPL-1.2; see
../ATTRIBUTION.md), the date, wavelengths and irradiances. The pixels are on the grid of that package, EPSG:3035 with an
origin that is not a whole metre, and MTD_TL.xml says so; a real product is in UTM.
Changed: {'every reflectance DN raised by 1000 except 0 (nodata), as baseline ' + baseline + ' with BOA_ADD_OFFSET -1000 stores it.' if offset else 'nothing in the values (baseline ' + baseline + ' has no offset).'}
Invented but plausible: tile name, time of day, orbit, generation time, viewing angles. Sun angles are computed.
There is no B01, B05-B07, B09, B12, TCI, AOT, WVP, DATASTRIP and QI_DATA.
Contains modified Copernicus Sentinel data 2020.
""")
    manifest(root, start, orbit_abs, footprint)
    return name


def manifest(root, start, orbit_abs, footprint):
    files = sorted(os.path.relpath(os.path.join(b, f), root).replace(os.sep, "/") for b, _, fs in os.walk(root) for f in fs)
    objects = []
    for i, rel in enumerate(files):
        with open(os.path.join(root, rel), "rb") as f:
            blob = f.read()
        mime = {"jp2": "application/octet-stream", "xml": "text/xml", "txt": "text/plain"}[rel.rsplit(".", 1)[1]]
        ident = "S2_Level-2A_Product_Metadata" if rel == "MTD_MSIL2A.xml" else f"object_{i:02d}"
        objects.append(f"""        <dataObject ID="{ident}">
            <byteStream mimeType="{mime}" size="{len(blob)}">
                <fileLocation href="./{rel}" locatorType="URL"/>
                <checksum checksumName="MD5">{hashlib.md5(blob).hexdigest()}</checksum>
            </byteStream>
        </dataObject>""")
    objects = "\n".join(objects)
    write_text(os.path.join(root, "manifest.safe"), f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<xfdu:XFDU xmlns:gml="http://www.opengis.net/gml" xmlns:safe="http://www.esa.int/safe/sentinel/1.1" xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_l2a_user_product">
    <informationPackageMap>
        <xfdu:contentUnit dmdID="acquisitionPeriod platform" textInfo="SENTINEL-2 MSI Level-2A User Product" unitType="Product_Level-2A">
            <xfdu:contentUnit ID="Product_Metadata_Level-2A" unitType="Metadata Unit">
                <dataObjectPointer dataObjectID="S2_Level-2A_Product_Metadata"/>
            </xfdu:contentUnit>
        </xfdu:contentUnit>
    </informationPackageMap>
    <metadataSection>
        <metadataObject ID="acquisitionPeriod" category="DMD" classification="DESCRIPTION"><metadataWrap mimeType="text/xml" textInfo="Acquisition Period" vocabularyName="Sentinel-SAFE"><xmlData><safe:acquisitionPeriod><safe:startTime>{start}</safe:startTime></safe:acquisitionPeriod></xmlData></metadataWrap></metadataObject>
        <metadataObject ID="measurementOrbitReference" category="DMD" classification="DESCRIPTION"><metadataWrap mimeType="text/xml" textInfo="Orbit Reference" vocabularyName="Sentinel-SAFE"><xmlData><safe:orbitReference><safe:orbitNumber groundTrackDirection="descending" type="start">{orbit_abs:06d}</safe:orbitNumber><safe:relativeOrbitNumber type="start">{ORBIT:03d}</safe:relativeOrbitNumber></safe:orbitReference></xmlData></metadataWrap></metadataObject>
        <metadataObject ID="platform" category="DMD" classification="DESCRIPTION"><metadataWrap mimeType="text/xml" textInfo="Platform Description" vocabularyName="Sentinel-SAFE"><xmlData><safe:platform><safe:familyName>SENTINEL</safe:familyName><safe:number>2B</safe:number><safe:instrument><safe:familyName abbreviation="MSI">Multi-Spectral Instrument</safe:familyName></safe:instrument></safe:platform></xmlData></metadataWrap></metadataObject>
        <metadataObject ID="measurementFrameSet" category="DMD" classification="DESCRIPTION"><metadataWrap mimeType="text/xml" textInfo="Frame Set" vocabularyName="Sentinel-SAFE"><xmlData><safe:frameSet><safe:footPrint srsName="http://www.opengis.net/gml/srs/epsg.xml#4326"><gml:coordinates>{footprint}</gml:coordinates></safe:footPrint></safe:frameSet></xmlData></metadataWrap></metadataObject>
    </metadataSection>
    <dataObjectSection>
{objects}
    </dataObjectSection>
</xfdu:XFDU>
""")


# ---- Landsat ---------------------------------------------------------------------------------------------------------

def landsat7(data, out):
    src, dst = os.path.join(data, "products", LE07), os.path.join(out, LE07)
    for k in ["SR_B1.TIF", "SR_B2.TIF", "SR_B3.TIF", "SR_B4.TIF", "SR_B5.TIF", "SR_B7.TIF", "QA_PIXEL.TIF", "QA_RADSAT.TIF",
              "MTL.txt", "MTL.xml", "MTL.json"]:
        copy(os.path.join(src, f"{LE07}_{k}"), os.path.join(dst, f"{LE07}_{k}"))
    write_text(os.path.join(dst, "NOTE_NOT_A_USGS_PRODUCT.txt"), """Not a USGS product: a small test product in the Collection 2 Level-2 layout.
Real: surface reflectance of LE70230282011250EDC00 (ESPA, LEDAPS), 258 x 243 px. Written as DN = round((reflectance + 0.2) /
0.0000275), 0 fill; QA_PIXEL from Fmask. ST_B6, which MTL names, is left out. See ../ATTRIBUTION.md.
""")


def landsat8(data, out):
    src, dst = os.path.join(data, "products_real_landsat_c2", LC08), os.path.join(out, LC08)
    qa, n = read(os.path.join(src, f"{LC08}_QA_PIXEL.TIF")), 96
    corners = [(i, j) for i in range(0, qa.shape[0] - n + 1, 4) for j in range(0, qa.shape[1] - n + 1, 4)]

    def rank(ij):
        w = qa[ij[0]:ij[0] + n, ij[1]:ij[1] + n]
        return (len(np.unique(w)), (w & 0b111111 == 0).mean(), -ij[0], -ij[1])

    i, j = max(corners, key=rank)
    os.makedirs(dst, exist_ok=True)
    for k in ["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "QA_PIXEL", "QA_RADSAT"]:
        win = rasterio.windows.Window(j, i, n, n)
        with rasterio.open(os.path.join(src, f"{LC08}_{k}.TIF")) as d:
            a, tags = d.read(1, window=win), d.tags()
            prof = dict(driver="GTiff", width=n, height=n, count=1, dtype=d.dtypes[0], crs=d.crs, nodata=d.nodata,
                        transform=d.window_transform(win), compress="deflate", zlevel=9, predictor=2, tiled=True,
                        blockxsize=64, blockysize=64)
        path = os.path.join(dst, f"{LC08}_{k}.TIF")
        with rasterio.open(path, "w", **prof) as o:
            o.update_tags(AREA_OR_POINT=tags["AREA_OR_POINT"])  # "Point", as in every real product
            o.write(a, 1)
        with rasterio.open(path) as o:
            assert np.array_equal(o.read(1), a) and o.transform.almost_equals(prof["transform"], 1e-6), path
    for k in ("MTL.txt", "MTL.json"):
        copy(os.path.join(src, f"{LC08}_{k}"), os.path.join(dst, f"{LC08}_{k}"))
    return i, j


def blob(x, y, radius, seed):
    """A 14-cornered irregular ring around (x, y), metres."""
    rng = np.random.default_rng(seed)
    ang = np.linspace(0, 2 * math.pi, 15)[:-1] + rng.uniform(-0.12, 0.12, 14)
    rad = radius * rng.uniform(0.7, 1.15, 14)
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(ang, rad)]


def michigan_parcels(out):
    """Six parcels in EPSG:32616, written in lon/lat with 7 decimals.

    Candidate centres lie every 6 px, at least 20 px from the edge; a square of 21 px around each says how much is water
    (QA_PIXEL bit 7) and how green it is (mean NDVI). Centres are taken in order, each at least 40 px from all before.
      MI-001..003  no water, highest NDVI; 002 has a hole; 003 is two parts, the second around the next best centre
      MI-004, 005  lake shore: water share nearest to one half
      MI-006       the next greenest, 45 m radius: under one hectare
    """
    base = os.path.join(out, LE07, LE07)
    with rasterio.open(base + "_QA_PIXEL.TIF") as d:
        water, t, crs = (d.read(1) >> 7) & 1, d.transform, d.crs
    n, r = (read(f"{base}_SR_B{b}.TIF") * 0.0000275 - 0.2 for b in (4, 3))
    ndvi = (n - r) / (n + r)
    cells = []
    for i in range(20, water.shape[0] - 20, 6):
        for j in range(20, water.shape[1] - 20, 6):
            w = np.s_[i - 10:i + 11, j - 10:j + 11]
            cells.append((water[w].mean(), ndvi[w].mean(), i, j))
    green = [(i, j) for _, _, i, j in sorted((-v, 0, i, j) for w, v, i, j in cells if w == 0)]
    shore = [(i, j) for _, _, i, j in sorted((abs(w - 0.5), 0, i, j) for w, v, i, j in cells)]
    taken = []

    def take(order):
        for i, j in order:
            if all(math.hypot(i - a, j - b) >= 40 for a, b in taken):
                taken.append((i, j))
                return t.c + (j + 0.5) * t.a, t.f + (i + 0.5) * t.e
        raise SystemExit("no room for another parcel")

    polygons = []
    c = take(green)
    polygons.append(shapely.Polygon(blob(*c, 330, 1)))
    c = take(green)
    polygons.append(shapely.Polygon(blob(*c, 360, 2), [blob(c[0] + 20, c[1] - 15, 120, 3)]))
    c, e = take(green), take(green)
    polygons.append(shapely.MultiPolygon([shapely.Polygon(blob(*c, 240, 4)), shapely.Polygon(blob(*e, 190, 5))]))
    for seed in (6, 7):
        polygons.append(shapely.Polygon(blob(*take(shore), 300, seed)))
    polygons.append(shapely.Polygon(blob(*take(green), 45, 8)))
    g = gpd.GeoSeries(polygons, crs=crs).to_crs(4326)
    g = shapely.transform(g.values, lambda xy: np.round(xy, 7))
    kinds = ["compensation_base", "compensation_base", "reserve", "compensation_base", "reference", "damaged"]
    features = [{"type": "Feature", "properties": {"parcel_id": f"MI-{k + 1:03d}", "kind": kinds[k], "origin": "drawn for tests, not real parcels"},
                 "geometry": json.loads(shapely.to_geojson(shapely.orient_polygons(p)))} for k, p in enumerate(g)]
    body = ",\n".join(json.dumps(f, separators=(",", ":")) for f in features)
    write_text(os.path.join(out, "parcels_michigan.geojson"),
               '{"type":"FeatureCollection","name":"parcels_michigan","features":[\n' + body + "\n]}\n")


# ---- licences --------------------------------------------------------------------------------------------------------

ROMANIA_ATTRIBUTION = """# Where this folder comes from

* Source: Python package `nrt` 0.2.1 of the European Commission's Joint Research Centre, files `nrt/data/*.nc` and
  `nrt/data/tree_cover_density_2018_romania.tif`.
* Licence: EUPL-1.2 (`LICENSE.EUPL-1.2.txt`). This folder as a whole is passed on under the same licence.
* Contains modified Copernicus Sentinel data 2018-2020. Tree cover density, used for one parcel attribute: Copernicus Land
  Monitoring Service, HRL 2018, European Environment Agency.

What it is: Sentinel-2 L2A surface reflectance over 1 km x 1 km of mountain forest (22.152 E, 45.205 N), {n} dates from
{first} to {last}. B02, B04, B08 at 10 m, B8A, B11, SCL at 20 m, EPSG:3035 (upstream had reprojected it from UTM).
Reflectance = DN / 10000, no offset, nodata 0.

What was changed: each slice of the netCDF cubes written unchanged in value to one GeoTIFF (SCL from 16 to 8 bit; pixel
centres moved to the outer corner); dates and bands chosen by the rule in `scripts/make_testdata.py`; STAC Items written.
The time of day in the items is nominal, and `platform` does not tell 2A from 2B because the source does not.
The 10 m SCL of the source is not the 20 m SCL repeated 2 x 2 (each was resampled from UTM by itself); only the 20 m one is here.

`parcels.gpkg`: 45 plausible parcels drawn for tests, **not real**. `kind` and `lin_xing` are set by the rules in the script,
for demonstration: they come from no survey. Gaps cut into this forest in 2018-2020 are real.
"""

PRODUCTS_ATTRIBUTION = """# Where these products come from

| folder | pixels | licence |
|---|---|---|
| `{s5}` | Sentinel-2, Romania, {day} | EUPL-1.2 (`../romania/LICENSE.EUPL-1.2.txt`) |
| `{s2}` | the same acquisition | EUPL-1.2 |
| `{le07}` | Landsat 7, Michigan, 2011-09-07 | public domain |
| `{lc08}` | Landsat 8, Colombia, 2019-12-01 | public domain; container files Apache-2.0 |

**Sentinel-2.** Made by `scripts/make_testdata.py` from package `nrt` 0.2.1 (European Commission, Joint Research Centre,
EUPL-1.2). Not ESA products. Contains modified Copernicus Sentinel data 2020. One acquisition in two processing baselines:
05.00 stores DN + 1000 and says BOA_ADD_OFFSET -1000, 02.14 stores DN; the reflectance is the same in every pixel.
Changed: values moved from netCDF to lossless JPEG 2000, metadata written in the element names of the real format.
What is real and what invented stands in the note inside each folder.

**Landsat 7.** Landsat data courtesy of the U.S. Geological Survey (public domain): ESPA surface reflectance of scene
LE70230282011250EDC00, distributed as an example with repository loicdtx/bfastSpatial. The container, that is scaling to
Collection 2 DN, QA bits and MTL, was made by us: not a USGS product. ST_B6 left out; the other files unchanged.

**Landsat 8.** Landsat data courtesy of the U.S. Geological Survey (public domain). A real product with real MTL; its
rasters were decimated to 512 x 512 px (about 445 x 454 m, not square) in the test data of repository
stactools-packages/landsat, commit bde55a5a35f9, Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0).
Changed: cut to 96 x 96 px (first row {i}, first column {j}), recompressed, band 1, aerosol, thermal and angle files left out.
MTL files unchanged, so their sizes and corners describe the full scene.

`parcels_michigan.geojson`: six plausible parcels drawn by rule for tests, not real; same terms as the rest of the repository.
"""


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True, metavar="DIR", help="the shared data folder")
    ap.add_argument("--out", default="testdata", metavar="DIR")
    a = ap.parse_args()
    rom = os.path.join(a.data, "s2_romania_nrt")
    for sub in ("romania", "products"):
        shutil.rmtree(os.path.join(a.out, sub), ignore_errors=True)
    days, safe_day = choose_days(rom)
    romania(rom, os.path.join(a.out, "romania"), days)
    products = os.path.join(a.out, "products")
    s5 = safe_product(rom, products, safe_day, "05.00", "20230507T031422", -1000)
    s2 = safe_product(rom, products, safe_day, "02.14", "20200908T122407", 0)
    landsat7(a.data, products)
    i, j = landsat8(a.data, products)
    michigan_parcels(products)
    write_text(os.path.join(products, "ATTRIBUTION.md"),
               PRODUCTS_ATTRIBUTION.format(s5=s5, s2=s2, day=safe_day, le07=LE07, lc08=LC08, i=i, j=j))
    total = 0
    for sub in ("romania", "products"):
        files = [os.path.join(b, f) for b, _, fs in os.walk(os.path.join(a.out, sub)) for f in fs]
        size = [os.path.getsize(f) for f in files]
        total += sum(size)
        assert max(size) <= 1 << 20
        print(f"{sub}: {len(files)} files, {sum(size) / 1e6:.2f} MB, largest {max(size) / 1e3:.0f} kB")
    print(f"{len(days)} dates {days[0]} .. {days[-1]}; SAFE date {safe_day}; Landsat 8 crop at row {i}, column {j}")
    assert total < 6e6, total


if __name__ == "__main__":
    main()
