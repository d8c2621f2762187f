//! Worked numbers by hand, traps, and properties of the method.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::*;
use crate::carbon::chain::Factor;
use crate::carbon::draw::Draws;
use crate::carbon::monte_carlo::{MonteCarlo, Tonnes};
use crate::series::Observation;
use crate::units::{CO2_PER_C, Estimate, Hectares};

const A: Date = date(2016, 7, 15);
const B: Date = date(2020, 7, 15);
const C: Date = date(2023, 7, 15);
const LIVING: &[Pool] = &[Pool::Aboveground, Pool::Belowground];
const AREA_HA: f64 = 12.6;

/// A parcel to assess; attributes and section as they are written.
struct Case<'a> {
    set: &'a ParameterSet,
    attributes: &'a [(&'a str, &'a str)],
    section: &'a str,
    epochs: &'a [Date],
    lost: Option<&'a dyn Fn(Date, Date) -> Estimate<f64>>,
    observations: Vec<Observation>,
    pools: &'a [Pool],
}

fn set(name: &str) -> ParameterSet {
    ParameterSet::builtin(name).unwrap()
}

fn no_loss(_: Date, _: Date) -> Estimate<f64> {
    Estimate { value: 0.0, se: 0.0 }
}

impl<'a> Case<'a> {
    fn new(set: &'a ParameterSet, attributes: &'a [(&'a str, &'a str)], section: &'a str, epochs: &'a [Date]) -> Self {
        Case { set, attributes, section, epochs, lost: Some(&no_loss), observations: Vec::new(), pools: LIVING }
    }

    fn assess_as(&self, parcel_id: &str) -> Assessed {
        let params: Inventory = toml::from_str(self.section).unwrap();
        params.validate().unwrap();
        let attributes = self.attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let epochs: BTreeSet<Date> = self.epochs.iter().copied().collect();
        let observations = BTreeMap::from([(Arc::from("ndvi"), self.observations.clone())]);
        let evidence = Evidence {
            parcel_id,
            area: Hectares::new(AREA_HA).unwrap(),
            attributes: &attributes,
            epochs: &epochs,
            observations: &observations,
            lost: self.lost,
            lost_area: None,
            seen: self.epochs.iter().min().copied().zip(self.epochs.iter().max().copied()),
            pools: self.pools,
            parameters: self.set,
        };
        let periods: Vec<[Date; 2]> = self.epochs.windows(2).map(|e| [e[0], e[1]]).collect();
        chain(&evidence, &params, &periods)
    }

    fn assess(&self) -> Assessed {
        self.assess_as("p")
    }

    fn chain(&self) -> Chain {
        let (chain, refusals) = self.assess().unwrap();
        assert_eq!(refusals, [], "{:?}", self.attributes);
        chain
    }

    fn refused(&self) -> String {
        self.assess().unwrap_err().message
    }

    fn tonnes(&self) -> Tonnes {
        let periods: Vec<[Date; 2]> = self.epochs.windows(2).map(|e| [e[0], e[1]]).collect();
        MonteCarlo::new(Draws::new(1, 4000)).tonnes(&self.chain(), &Factor::exact(AREA_HA), &periods)
    }
}

fn density(chain: &Chain, epoch: Date, pool: Pool) -> f64 {
    chain.estimate(&chain.epochs[&epoch].densities[&pool])
}

fn total(chain: &Chain, epoch: Date) -> f64 {
    chain.epochs[&epoch].densities.values().map(|terms| chain.estimate(terms)).sum()
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-6, "found {found}, expected {expected}");
}

const TEMPERATE: &str = "ecological_zone = \"temperate_continental\"\n";

// Worked example 8, to its digits.
#[test]
fn example_8_pine_by_the_ipcc() {
    let ipcc = set("ipcc-2006");
    let case = Case::new(&ipcc, &[("species", "油松"), ("volume_m3_per_ha", "85")], TEMPERATE, &[A]);
    let chain = case.chain();
    assert_eq!(chain.model_id, "inventory/ipcc-2006/temperate_pines");
    close(density(&chain, A, Pool::Aboveground), 63.75 * 0.51);
    close(density(&chain, A, Pool::Belowground), 63.75 * 0.29 * 0.51);
    close(total(&chain, A), 41.941_125);
    close(total(&chain, A) * CO2_PER_C, 153.784_125);
    close(total(&chain, A) * CO2_PER_C * AREA_HA, 1_937.679_98);
    close(case.tonnes().stocks[&(A, Pool::Total)].spread.estimate * CO2_PER_C, 1_937.679_98);
}

#[test]
fn example_8_larch_by_the_chinese_set() {
    let cn = set("cn-ar-cm-001");
    let chain = Case::new(&cn, &[("forest_type", "落叶松林"), ("volume_m3_per_ha", "85")], "", &[A]).chain();
    close(density(&chain, A, Pool::Aboveground), 58.9764 * 0.521);
    close(total(&chain, A) / 0.521, 71.479_396_8);
    close(total(&chain, A), 37.240_765_7);
    close(total(&chain, A) * CO2_PER_C, 136.549_474_4);
}

// 85.622 t/ha with the roots in it: R splits it and does not enter the sum, neither its estimate nor any draw.
#[test]
fn example_8_larch_by_fang_counts_roots_once() {
    let fang = set("fang-2001");
    let case = Case::new(&fang, &[("species", "Larix gmelinii"), ("volume_m3_per_ha", "85")], "volume_cv = 0.1", &[A]);
    let chain = case.chain();
    close(total(&chain, A), 85.622 * 0.5);
    close(density(&chain, A, Pool::Aboveground), 85.622 * 0.5 / 1.212);
    close(density(&chain, A, Pool::Belowground), 85.622 * 0.5 * 0.212 / 1.212);

    let text = include_str!("../../../configs/parameters/fang-2001.toml");
    let at = text.find("[values.larch_r]").unwrap();
    let uncertain = format!("{}{}", &text[..at], text[at..].replacen("value = 0.212", "value = 0.212\ncv = 0.3", 1));
    let uncertain = ParameterSet::load(&uncertain).unwrap();
    let with = Case { set: &uncertain, ..case }.tonnes();
    let without =
        Case::new(&fang, &[("species", "larch"), ("volume_m3_per_ha", "85")], "volume_cv = 0.1", &[A]).tonnes();
    for (a, b) in with.stocks[&(A, Pool::Total)].draws.iter().zip(&without.stocks[&(A, Pool::Total)].draws) {
        assert!((a / b - 1.0).abs() < 1e-12, "R must not enter the total");
    }
    let roots = &with.stocks[&(A, Pool::Belowground)];
    assert!(roots.spread.se > 1.2 * without.stocks[&(A, Pool::Belowground)].spread.se, "but it enters the roots");
}

// The class jumps of example 8: a difference of two lookups is an error, a difference within one row is not.
#[test]
fn two_classes_make_no_difference() {
    let ipcc = set("ipcc-2006");
    let (_, pines) = ipcc.volume_group("pine", Some("temperate")).unwrap();
    let at = |v| Expanded::of(&ipcc, pines, v).unwrap();
    for (before, after, agb) in [(39.0, 41.0, (39.0, 30.75)), (99.0, 101.0, (74.25, 70.70))] {
        close(at(before).agb_t_per_ha, agb.0);
        close(at(after).agb_t_per_ha, agb.1);
        let jump = at(before).change(&at(after)).unwrap_err();
        assert!(jump.to_string().starts_with(&format!("one date was expanded by {:?}", at(before).row)));
    }
    close(at(41.0).change(&at(99.0)).unwrap(), 58.0 * 0.75);
}

// The same through the method: 39 to 41 and 99 to 101 grow by 2 m3/ha times one BCEF, and say that a row was kept.
#[test]
fn a_growing_stand_grows_across_class_bounds() {
    let ipcc = set("ipcc-2006");
    for (v, bcef, r) in [("39", 1.0, 0.40), ("99", 0.75, 0.29)] {
        let years = f64::from(crate::units::days(C) - crate::units::days(B)) / 365.25;
        let increment = (2.0 / years).to_string();
        let attributes = [("species", "油松"), ("volume_m3_per_ha", v), ("increment_m3_per_ha_a", &increment)];
        let chain = Case::new(&ipcc, &attributes, TEMPERATE, &[B, C]).chain();
        close(total(&chain, C) - total(&chain, B), 2.0 * bcef * (1.0 + r) * 0.51);
        assert_eq!(chain.epochs[&B].flags, []);
        assert_eq!(chain.epochs[&C].flags, [Flag::ClassHeld]);
    }
}

// Worked example 14 through a set of its own: 150 (12 %) x 0.75 (20 %) x (1 + 0.29) x 0.51 (5 %), R without roots' own error
// standing for the 1.29 (10 %) of the example by a transfer error of 10 %.
#[test]
fn example_14_product_of_lognormals() {
    let value = |id: &str, value: f64, unit: &str, cv: f64| {
        format!("[values.{id}]\nvalue = {value}\nunit = \"{unit}\"\nsource = \"test\"\nconfidence = \"K\"\ncv = {cv}\n")
    };
    let text = [
        "name = \"own\"\nversion = \"1\"\ntitle = \"t\"\n".to_owned(),
        value("bcef", 0.75, "t d.m./m3", 0.2),
        value("cf", 0.51, "t C/t d.m.", 0.05),
        value("r", 0.29, "t d.m./t d.m.", 0.0),
        value("transfer", 1.0, "1", 0.1),
        "[volume_classes]\nbcef = [{ value = \"bcef\" }]\n[groups.x]\nname_zh = \"x林\"\nname_en = \"x\"\ntaxa = [\"x\"]\n\
         root_to_shoot = \"r\"\ncarbon_fraction = \"cf\"\ntransfer_error = \"transfer\"\n\
         model = { form = \"expansion\", stock = \"bcef\" }\n"
            .to_owned(),
    ];
    let own = ParameterSet::load(&text.concat()).unwrap();
    let case = Case::new(&own, &[("species", "X"), ("volume_m3_per_ha", "150")], "volume_cv = 0.12", &[A]);
    let tonnes = MonteCarlo::new(Draws::new(1, 100_000)).tonnes(&case.chain(), &Factor::exact(1.0), &[]);
    let spread = tonnes.stocks[&(A, Pool::Total)].spread;
    close(spread.estimate, 74.013_75);
    for (found, expected) in [
        (spread.se / spread.estimate, 0.261_131_335_5),
        (spread.median, 71.612_402),
        (spread.ci90.0, 46.937_13),
        (spread.ci90.1, 109.259_69),
        (spread.ci95.0, 43.288_07),
        (spread.ci95.1, 118.469_97),
    ] {
        assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
    }
}

#[test]
fn the_empty_section_works_with_the_attributes_of_the_contract() {
    let fang = set("fang-2001");
    let attributes = [
        ("forest_type", "阔叶林"),
        ("species", "白桦"),
        ("volume_m3_per_ha", "120.5"),
        ("planted_on", "1985/04/01 00:00:00+00"),
    ];
    let chain = Case { lost: None, ..Case::new(&fang, &attributes, "", &[B, C]) }.chain();
    assert_eq!(chain.status, Status::ScreeningOnly, "the volume's error is not known");
    let flags =
        [Flag::UnapprovedParameters, Flag::GrowthNotStated, Flag::SurveyDateNotStated, Flag::VolumeErrorNotStated];
    assert_eq!(chain.flags, flags);
    assert!(chain.epochs[&B].flags.is_empty(), "the survey counts as of this day");
    assert_eq!(chain.epochs[&C].flags, [Flag::RetentionNotObserved]);
    close(total(&chain, B), (1.0687 * 120.5 + 10.237) * 0.5);
    assert_eq!(total(&chain, B), total(&chain, C), "held constant");
    assert!(chain.gain_loss.is_empty());
}

#[test]
fn what_states_its_errors_is_issuable() {
    let cn = set("cn-ar-cm-001");
    let grown = [("species", "杨树"), ("volume_m3_per_ha", "80"), ("increment_m3_per_ha_a", "6")];
    let section = "surveyed_on = \"2018-07-15\"\nvolume_cv = 0.15\n";
    let chain = Case::new(&cn, &grown, &format!("{section}increment_cv = 0.2"), &[B, C]).chain();
    assert_eq!((chain.status, chain.flags.as_slice()), (Status::Issuable, &[Flag::UnapprovedParameters][..]));
    let exact = Case::new(&cn, &grown, section, &[B, C]).chain();
    assert_eq!(exact.status, Status::ScreeningOnly);
    assert_eq!(exact.flags, [Flag::UnapprovedParameters, Flag::GrowthErrorNotStated]);
    let still = Case::new(&cn, &grown[..2], section, &[B, C]).chain();
    assert_eq!(still.status, Status::Issuable, "nothing grows, so nothing can be credited for it");
    assert_eq!(still.flags, [Flag::UnapprovedParameters, Flag::GrowthNotStated]);
}

// 80 m3/ha surveyed two years before, 6 m3/ha/a; attributes come before the section.
#[test]
fn an_increment_grows_the_volume_from_the_survey_date() {
    let cn = set("cn-ar-cm-001");
    let attributes = [
        ("species", "杨树"),
        ("volume_m3_per_mu", "5.333333333333333"),
        ("increment_m3_per_ha_a", "6"),
        ("surveyed_on", "2018年7月15日"),
    ];
    let section = "increment_m3_per_ha_a = 99\nsurveyed_on = \"1999-01-01\"\n";
    let chain = Case::new(&cn, &attributes, section, &[B]).chain();
    let v = 80.0 + 6.0 * 731.0 / 365.25;
    close(total(&chain, B), v * 0.378 * 1.446 * 1.227 * 0.496);
}

// Age 30 at the survey and 40 at the epoch; the table says 100 and 150, so 60 % of its volume stays 60 %.
#[test]
fn a_yield_table_scales_to_the_surveyed_volume() {
    let cn = set("cn-ar-cm-001");
    let attributes = [("species", "larch"), ("volume_m3_per_ha", "60"), ("planted_on", "1980-07-15")];
    let section = |ages: &str| format!("surveyed_on = \"2010-07-15\"\nyield_table = {ages}\n");
    let table = section("{ \"20\" = 50.0, \"40.0\" = 150.0, \"50\" = 170.0 }");
    let chain = Case::new(&cn, &attributes, &table, &[B]).chain();
    // Thirty years are 10,957 days here, and forty 14,610: 40.0 years of 365.25 days.
    let at_survey = 50.0 + 100.0 * (10_957.0 / 365.25 - 20.0) / 20.0;
    close(total(&chain, B), 60.0 * 150.0 / at_survey * 0.490 * 1.416 * 1.212 * 0.521);
    let short = section("{ \"20\" = 50.0, \"35\" = 125.0 }");
    let message = Case::new(&cn, &attributes, &short, &[B]).refused();
    assert_eq!(
        message,
        "epoch 2020-07-15: the stand is 40.0 years old on 2020-07-15 by planted_on, expected 20 to 35, the ages of \
         yield_table; extend the table"
    );
    let message = Case::new(&cn, &attributes[..2], &table, &[B]).refused();
    assert!(message.starts_with("attribute planted_on: found nothing, expected a date"), "{message}");
}

#[test]
fn a_yield_table_may_be_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("larch.csv"), "\u{feff}age_a,volume_m3_per_ha\r\n10,30\r\n20,80.5\r\n").unwrap();
    let read = |file: &str| {
        let mut params: Inventory = toml::from_str(&format!("yield_table = \"{file}\"")).unwrap();
        params.read_files(dir.path()).map(|()| params)
    };
    let params = read("larch.csv").unwrap();
    params.validate().unwrap();
    assert_eq!(params.yield_table.unwrap().rows().unwrap(), [(10.0, 30.0), (20.0, 80.5)]);
    assert!(read("none.csv").unwrap_err().to_string().contains("none.csv"));
    std::fs::write(dir.path().join("bad.csv"), "age,volume\n10,30\n20,about 80\n").unwrap();
    let message = read("bad.csv").unwrap_err().to_string();
    assert!(message.starts_with("yield_table: found line 3: \"20,about 80\", expected two numbers"), "{message}");
    let unread: Inventory = toml::from_str("yield_table = \"larch.csv\"").unwrap();
    assert!(unread.validate().is_err());
}

// A loss between two epochs takes its share of biomass; b of the linear model goes with the trees.
#[test]
fn a_loss_takes_its_share() {
    let fang = set("fang-2001");
    let lost = |a: Date, b: Date| {
        let between = a < date(2021, 5, 1) && b > date(2021, 5, 1);
        if between { Estimate { value: 0.4, se: 0.03 } } else { Estimate { value: 0.0, se: 0.0 } }
    };
    let section = "surveyed_on = \"2016-07-15\"\nvolume_cv = 0.1\n";
    let case = Case::new(&fang, &[("species", "杨树"), ("volume_m3_per_ha", "80")], section, &[A, B, C]);
    let case = Case { lost: Some(&lost), ..case };
    let chain = case.chain();
    let whole = (0.4754 * 80.0 + 30.6034) * 0.5;
    close(total(&chain, B), whole);
    close(total(&chain, C), whole * 0.6);
    // The stock's variance by part: volume and the transfer error before, retention besides after.
    let tonnes = case.tonnes();
    let loss = &tonnes.deltas[&(B, C)];
    close(loss.spread.estimate, -whole * 0.4 * AREA_HA);
    let residual = loss.parts[2].sqrt() / (AREA_HA * whole);
    let volume_share = 0.4754 * 80.0 * 0.5 / whole;
    let expected = ((0.4 * 0.1 * volume_share).powi(2) + 0.03f64.powi(2) * (1.0 + (0.1 * volume_share).powi(2))).sqrt();
    assert!((residual / expected - 1.0).abs() < 0.02, "{residual} {expected}");
    assert!(tonnes.deltas[&(A, B)].draws.iter().all(|d| *d == 0.0));
}

// Two epochs after one loss know no more of it than one: their difference is exact.
#[test]
fn epochs_without_a_loss_between_them_share_the_error_of_one_before() {
    let cn = set("cn-ar-cm-001");
    let lost = |_: Date, _: Date| Estimate { value: 0.3, se: 0.05 };
    let section = "surveyed_on = \"2015-07-15\"\nvolume_cv = 0.1\n";
    let attributes = [("species", "杨树"), ("volume_m3_per_ha", "80")];
    let case = Case { lost: Some(&lost), ..Case::new(&cn, &attributes, section, &[B, C]) };
    let tonnes = case.tonnes();
    assert!(tonnes.deltas[&(B, C)].draws.iter().all(|d| d.abs() < 1e-9));
    assert!(tonnes.stocks[&(B, Pool::Total)].parts[2] > 0.0);
}

// Surveyed after a loss of a third: before it half as much again stood. After more than half was lost nobody knows.
#[test]
fn an_epoch_before_the_survey_had_what_was_lost_since() {
    let cn = set("cn-ar-cm-001");
    let section = "surveyed_on = \"2022-07-15\"\n";
    let attributes = [("species", "杨树"), ("volume_m3_per_ha", "80")];
    let case = |share: f64| {
        let lost = move |a: Date, b: Date| {
            let between = a < date(2021, 5, 1) && b > date(2021, 5, 1);
            Estimate { value: if between { share } else { 0.0 }, se: 0.01 }
        };
        Case { lost: Some(&lost), ..Case::new(&cn, &attributes, section, &[B, C]) }.assess()
    };
    let (chain, refusals) = case(1.0 / 3.0).unwrap();
    assert!(refusals.is_empty());
    close(total(&chain, B), 1.5 * total(&chain, C));
    let (chain, refusals) = case(0.6).unwrap();
    assert_eq!(chain.epochs.keys().collect::<Vec<_>>(), [&C]);
    assert_eq!(refusals[0].epoch, Some(B));
    assert!(refusals[0].message.starts_with("epoch 2020-07-15: 60 % of the parcel was lost between it and the survey"));
}

fn seen(year: i16, index: f64) -> Vec<Observation> {
    let at = |day: i8, mean: f64| Observation { date: date(year, 7, day), mean, clear_fraction: 1.0 };
    vec![at(10, index - 0.01), at(15, index), at(20, index + 0.01)]
}

const COVER: &str = "surveyed_on = \"2016-07-15\"\n[cover]\nindex_bare = 0.1\nindex_full = 0.9\n";

// Cover 0.875, 0.4375 and 1 (cut): half of the stand at the second date, all of it at the third.
#[test]
fn the_smaller_of_two_witnesses_counts() {
    let cn = set("cn-ar-cm-001");
    let attributes = [("species", "杨树"), ("volume_m3_per_ha", "80")];
    let observations = [seen(2016, 0.8), seen(2020, 0.45), seen(2023, 0.95)].concat();
    let whole = 80.0 * 0.378 * 1.446 * 1.227 * 0.496;
    let lost = |_: Date, b: Date| Estimate { value: if b > B { 0.2 } else { 0.0 }, se: 0.02 };
    let seen_by = |lost: Option<&dyn Fn(Date, Date) -> Estimate<f64>>| {
        let case = Case::new(&cn, &attributes, COVER, &[A, B, C]);
        let chain = Case { lost, observations: observations.clone(), ..case }.chain();
        [A, B, C].map(|epoch| total(&chain, epoch) / whole)
    };
    let (by_cover, by_both) = (seen_by(None), seen_by(Some(&lost)));
    for (found, expected) in by_cover.iter().zip([1.0, 0.5, 1.0]).chain(by_both.iter().zip([1.0, 0.5, 0.8])) {
        close(*found, expected);
    }
    let chain = Case { lost: None, observations: observations.clone(), ..Case::new(&cn, &attributes, COVER, &[A, B]) };
    assert!(!chain.chain().flags.contains(&Flag::RetentionNotObserved));
    assert!(chain.tonnes().deltas[&(A, B)].parts[2] > 0.0, "cover has its error");

    let unseen = Case { observations: seen(2016, 0.8), ..Case::new(&cn, &attributes, COVER, &[A, B]) };
    let (chain, refusals) = unseen.assess().unwrap();
    assert_eq!(chain.epochs.len(), 1);
    assert!(refusals[0].message.starts_with("cover at epoch 2020-07-15: no clear observation"));
    let message = Case { observations: seen(2020, 0.8), ..unseen }.refused();
    assert!(message.starts_with("cover at the survey date 2016-07-15: no clear observation"), "{message}");
    let bare = [seen(2016, 0.05), seen(2020, 0.8)].concat();
    let message = Case { observations: bare, ..Case::new(&cn, &attributes, COVER, &[B]) }.refused();
    assert!(message.contains("found bare ground (ndvi at or below index_bare)"), "{message}");
}

// By hand for pines of 85 m3/ha, 4 m3/ha/a, a fifth lost: gain = 0.8 x 4 x T x 0.6, loss = 0.2 x V(mid) x 0.75.
#[test]
fn gain_and_loss_stand_beside_the_stock_difference() {
    let ipcc = set("ipcc-2006");
    let attributes = [("species", "油松"), ("volume_m3_per_ha", "60"), ("increment_m3_per_ha_a", "4")];
    let lost = |_: Date, b: Date| Estimate { value: if b == C { 0.2 } else { 0.0 }, se: 0.0 };
    let section = format!("surveyed_on = \"2020-07-15\"\n{TEMPERATE}");
    let chain = Case { lost: Some(&lost), ..Case::new(&ipcc, &attributes, &section, &[B, C]) }.chain();
    let years = 1095.0 / 365.25;
    // Mean volume 66: BCEF_S 0.75, BCEF_I 0.6; AGB 49.5, so R 0.40.
    let carbon = 1.40 * 0.51;
    let gain = 0.8 * 4.0 * years * 0.6 * carbon;
    let loss = 0.2 * (60.0 + 4.0 * 547.0 / 365.25) * 0.75 * carbon;
    close(chain.estimate(&chain.gain_loss[&(B, C)]), gain - loss);

    // With the factors of the stock for the increment, nothing lost: the same as the stock difference.
    let cn = set("cn-ar-cm-001");
    for set in [&cn, &set("fang-2001")] {
        let chain = Case::new(set, &attributes, "", &[B, C]).chain();
        close(chain.estimate(&chain.gain_loss[&(B, C)]), total(&chain, C) - total(&chain, B));
    }
}

#[test]
fn parts_of_the_variance_are_told_apart() {
    let ipcc = set("ipcc-2006");
    let attributes = [("species", "油松"), ("volume_m3_per_ha", "85")];
    let section = format!(
        "{TEMPERATE}surveyed_on = \"2020-07-15\"\nvolume_cv = 0.2\nincrement_m3_per_ha_a = 3\nincrement_cv = 0.25\n"
    );
    let tonnes = Case::new(&ipcc, &attributes, &section, &[B, C]).tonnes();
    let [model, allometry, residual, area, saturation] = tonnes.stocks[&(B, Pool::Total)].parts;
    assert!(model < 1e-12 * residual && allometry > 0.0 && area == 0.0 && saturation == 0.0);
    let stock = 41.941_125 * AREA_HA;
    assert!((residual.sqrt() / stock - 0.2).abs() < 1e-3, "{}", residual.sqrt() / stock);
    let delta = &tonnes.deltas[&(B, C)];
    assert!((delta.parts[0].sqrt() / delta.spread.estimate - 0.25).abs() < 1e-3);
    assert!(delta.parts[2] < 1e-12 * residual, "the volume of the survey cancels");
}

// What a borrowed model is off by is one draw for the parcels of a group, and another for another group.
#[test]
fn the_transfer_error_is_shared_within_a_group() {
    let fang = set("fang-2001");
    let sources = |species: &str, parcel: &str| -> BTreeSet<String> {
        let (chain, _) = Case::new(&fang, &[("species", species), ("volume_m3_per_ha", "85")], "volume_cv = 0.1", &[A])
            .assess_as(parcel)
            .unwrap();
        chain.factors.iter().flat_map(|f| &f.sources).map(|(s, _)| s.to_string()).collect()
    };
    let (p, q, r) = (sources("larch", "p"), sources("落叶松", "q"), sources("poplar", "p"));
    let shared = BTreeSet::from(["parameter/fang-2001/transfer_error/larch".to_owned()]);
    assert_eq!(p.intersection(&q).cloned().collect::<BTreeSet<_>>(), shared);
    assert!(r.contains("parameter/fang-2001/transfer_error/poplar") && r.contains("parcel/p/volume"));
    let tonnes = Case::new(&fang, &[("species", "larch"), ("volume_m3_per_ha", "85")], "", &[A]).tonnes();
    let spread = tonnes.stocks[&(A, Pool::Total)].spread;
    assert!((spread.se / spread.estimate - 0.1642).abs() < 1e-3);
    let of_zeng = ((11.62f64.powi(2) + 25.19f64.powi(2) + 6.26f64.powi(2)) / 3.0).sqrt() / 100.0;
    for name in ["ipcc-2006", "fang-2001", "cn-ar-cm-001"] {
        let cv = set(name).value("transfer_error").unwrap().cv().unwrap();
        assert!((cv - of_zeng).abs() < 5e-5, "{name}");
    }
}

#[test]
fn litter_and_soil_are_held_and_dead_wood_has_no_default() {
    let ipcc = set("ipcc-2006");
    let attributes = [("species", "油松"), ("volume_m3_per_ha", "85"), ("increment_m3_per_ha_a", "3")];
    let section = format!("{TEMPERATE}climate_zone = \"cold_temperate_moist\"\nsoil_type = \"HAC\"\n");
    let all = [Pool::Aboveground, Pool::Belowground, Pool::Litter, Pool::Soil];
    let lost = |_: Date, b: Date| Estimate { value: if b == C { 0.2 } else { 0.0 }, se: 0.0 };
    let case = Case::new(&ipcc, &attributes, &section, &[B, C]);
    let case = Case { pools: &all, lost: Some(&lost), ..case };
    let chain = case.chain();
    for epoch in [B, C] {
        assert_eq!((density(&chain, epoch, Pool::Litter), density(&chain, epoch, Pool::Soil)), (26.0, 95.0));
    }
    let (with, living) = (case.tonnes(), Case { pools: LIVING, ..case }.tonnes());
    let (with, living) = (&with.deltas[&(B, C)].draws, &living.deltas[&(B, C)].draws);
    assert!(with.iter().zip(living).all(|(a, b)| (a - b).abs() < 1e-9), "they cancel in a change");

    let refused = |section: &str, pool: Pool, set: &ParameterSet| {
        Case { pools: &[pool], ..Case::new(set, &attributes, section, &[B]) }.refused()
    };
    let message = refused(&section, Pool::DeadWood, &ipcc);
    assert!(
        message.starts_with("pool dead_wood: it has no default value in any guideline; leave the pool out"),
        "{message}"
    );
    assert!(refused(TEMPERATE, Pool::Litter, &ipcc).starts_with("pool litter: needs climate_zone"));
    let message = refused(&format!("{TEMPERATE}climate_zone = \"cold\""), Pool::Soil, &ipcc);
    assert!(message.contains("climate_zone is \"cold\", expected one of boreal_dry, boreal_moist, cold_temperate_dry"));
    let message = refused(&section.replace("HAC", "clay"), Pool::Soil, &ipcc);
    assert!(message.contains("soil_type is \"clay\", expected one of hac, lac, sandy"), "{message}");
    let message = refused("climate_zone = \"boreal_dry\"", Pool::Litter, &set("fang-2001"));
    assert!(message.contains("parameter set \"fang-2001\" has no climates"), "{message}");

    // A set of one's own may have it.
    let text = include_str!("../../../configs/parameters/ipcc-2006.toml");
    let own = text.replacen(
        "[groups.temperate_pines]\n",
        "[groups.temperate_pines]\ndead_wood = \"litter_subtropical_broadleaf\"\n",
        1,
    );
    let own = ParameterSet::load(&own).unwrap();
    let chain = Case { set: &own, pools: &[Pool::DeadWood], ..Case::new(&own, &attributes, TEMPERATE, &[B]) }.chain();
    assert_eq!(density(&chain, B, Pool::DeadWood), 2.8);
}

// A young plantation must not hold the intercept of a line that was fitted to closed stands.
#[test]
fn no_stand_below_the_range_of_its_model() {
    let fang = set("fang-2001");
    let poplar = [("species", "杨树"), ("volume_m3_per_ha", "5.6")];
    let message = Case::new(&fang, &poplar, "", &[B]).refused();
    assert_eq!(
        message,
        "epoch 2020-07-15: found 5.6 m3/ha, expected at least 20, below which the model of parameter set \"fang-2001\" does \
         not hold (b t/ha would stand on bare land); if the layer states m3 per mu (亩), map the field as volume_m3_per_mu; \
         else use a set without this bound, or set min_volume_m3_per_ha under [biomass.inventory]"
    );
    assert!(Case::new(&fang, &poplar, "min_volume_m3_per_ha = 5", &[B]).assess().is_ok());
    let mu = [("species", "杨树"), ("volume_m3_per_mu", "5.6")];
    close(total(&Case::new(&fang, &mu, "", &[B]).chain(), B), (0.4754 * 84.0 + 30.6034) * 0.5);
    // Grown back below the range: only that epoch is refused.
    let grown = [
        ("species", "杨树"),
        ("volume_m3_per_ha", "30"),
        ("increment_m3_per_ha_a", "5"),
        ("surveyed_on", "2020-07-15"),
    ];
    let (chain, refusals) = Case::new(&fang, &grown, "", &[A, B]).assess().unwrap();
    assert_eq!(chain.epochs.keys().collect::<Vec<_>>(), [&B]);
    assert_eq!(refusals[0].epoch, Some(A));
    assert!(refusals[0].message.contains("found 10.0 m3/ha, grown from 30 m3/ha on 2020-07-15, expected at least 20"));
}

#[test]
fn bad_input_says_which_field_and_what_to_do() {
    let (ipcc, fang) = (set("ipcc-2006"), set("fang-2001"));
    let refused = |attributes: &[(&str, &str)]| Case::new(&fang, attributes, "", &[B, C]).refused();
    let larch = ("species", "落叶松");
    assert_eq!(
        refused(&[larch, ("volume_m3_per_ha", "-3")]),
        "attribute volume_m3_per_ha: found \"-3\", expected growing stock in m3/ha, a number from 0 to 2000; leave it empty \
         where it is not known"
    );
    for (text, part) in [
        ("85 m3", "write it without a unit, with a decimal point"),
        ("85,5", "with a decimal point"),
        ("NaN", "leave it empty"),
        ("inf", "leave it empty"),
        ("1e999", "volume of the whole parcel"),
        ("-", "leave it empty"),
        ("无", "leave it empty"),
        ("N/A", "leave it empty"),
        ("1,200", "a comma or space may part thousands or be the decimal point"),
        ("１，２００", "a comma or space may part thousands or be the decimal point"),
        ("1 200", "a comma or space may part thousands or be the decimal point"),
        ("一百二十", "write it in digits"),
        ("120立方米", "write it without a unit, with a decimal point; the attribute states the unit"),
        ("120 m3/mu", "if the layer states m3 per mu (亩), map the field as volume_m3_per_mu"),
        ("8.5 m³/亩", "if the layer states m3 per mu (亩), map the field as volume_m3_per_mu"),
        ("15300", "volume of the whole parcel: divide it by the area; max_volume_m3_per_ha"),
    ] {
        let message = refused(&[larch, ("volume_m3_per_ha", text)]);
        assert!(message.starts_with(&format!("attribute volume_m3_per_ha: found {text:?}")), "{message}");
        assert!(message.contains(part), "{message}");
    }
    let message = refused(&[larch, ("volume_m3_per_mu", "140")]);
    assert!(message.contains("growing stock in m3/mu, a number from 0 to 133.3"), "{message}");
    let message = refused(&[larch, ("volume_m3_per_ha", "5.6"), ("volume_m3_per_mu", "5.6")]);
    assert!(message.contains("found 5.6 m3/ha, and by volume_m3_per_mu 84 m3/ha (1 ha = 15 mu)"), "{message}");
    assert!(refused(&[larch, ("volume_m3_per_ha", " ")]).contains("found nothing, expected growing stock in m3/ha"));
    assert!(refused(&[("volume_m3_per_ha", "85")]).starts_with("attribute species: found nothing, and no forest_type"));

    let good = ("volume_m3_per_ha", "85");
    let message = refused(&[("species", "落叶松木"), good]);
    assert_eq!(
        message.split(';').next().unwrap(),
        "attribute species: found \"落叶松木\": no species or forest type of this name is known to parameter set \"fang-2001\""
    );
    assert!(
        message.contains("expected one of 落叶松, ") && message.contains(" more; correct it, or put it"),
        "{message}"
    );
    assert!(message.chars().count() < 250, "{message}");
    let message = refused(&[("forest_type", "混交林"), good]);
    assert!(message.starts_with("attribute forest_type: found \"混交林\": no species or forest type of this name"));
    assert!(message.contains("针阔混交林") && message.ends_with("an attribute species says more than the forest type"));
    let message = refused(&[("species", "毛竹"), good]);
    assert!(message.contains("has no factors for growing stock of bamboo"), "{message}");

    let refused = |attributes: &[(&str, &str)], section: &str| Case::new(&ipcc, attributes, section, &[B]).refused();
    let message = refused(&[larch, good], "");
    assert!(
        message.starts_with("attribute species: found \"落叶松\" without an ecological zone, expected one with it")
            && message.ends_with("give ecological_zone under [biomass.inventory] or as an attribute"),
        "{message}"
    );
    assert!(message.chars().count() < 250, "{message}");
    let message = refused(&[larch, good], "ecological_zone = \"subtropical_humid\"");
    assert!(message.contains("has no factors for growing stock in ecological zone \"subtropical_humid\""), "{message}");
    let message = refused(&[("forest_type", "针叶林"), good], TEMPERATE);
    assert!(
        message.contains("no factors for growing stock of conifer") && message.ends_with("than the forest type"),
        "{message}"
    );

    for (attribute, expected) in [
        (("planted_on", "中龄林"), "attribute planted_on: found \"中龄林\", expected a date such as 1998-04-15"),
        (("planted_on", "2022-01-01"), "attribute planted_on: found 2022-01-01, expected a date before the survey of"),
        (("surveyed_on", "2020-13-01"), "attribute surveyed_on: found \"2020-13-01\", expected a date"),
        (
            ("increment_m3_per_ha_a", "500"),
            "attribute increment_m3_per_ha_a: found \"500\", expected m3 per hectare and year",
        ),
        (
            ("volume_cv", "15"),
            "attribute volume_cv: found \"15\", expected a share of the volume, above 0, at most 1 (0.15 for 15 %)",
        ),
    ] {
        let message = Case::new(&fang, &[larch, good, attribute], "", &[B]).refused();
        assert!(message.starts_with(expected), "{message}");
    }
    let planted = [larch, good, ("planted_on", "2018-04"), ("surveyed_on", "2022-07-15")];
    let (chain, refusals) = Case::new(&fang, &planted, "", &[A, B]).assess().unwrap();
    assert_eq!(chain.epochs.len(), 1);
    assert!(
        refusals[0]
            .message
            .starts_with("epoch 2016-07-15: found a stand planted on 2018-04-15, expected one that stood")
    );
}

/// A full-width digit means one thing only.
#[test]
fn full_width_numbers_and_dates_are_read() {
    let cn = set("cn-ar-cm-001");
    let chain = |volume: &str, increment: &str, surveyed: &str| {
        let attributes = [
            ("species", "杨树"),
            ("volume_m3_per_ha", volume),
            ("increment_m3_per_ha_a", increment),
            ("surveyed_on", surveyed),
        ];
        Case::new(&cn, &attributes, "", &[B, C]).chain()
    };
    assert_eq!(chain("１２０．５", "＋６", "２０１８／０７／１５"), chain("120.5", "6", "2018-07-15"));
    assert_eq!(
        total(&chain("1.205e2", "6", "2018"), B),
        total(&chain("120.5", "6", "2018"), B),
        "as GDAL may write a real"
    );
    let message =
        Case::new(&cn, &[("species", "杨树"), ("volume_m3_per_ha", "80"), ("volume_cv", "15 %")], "", &[B]).refused();
    assert!(
        message
            .ends_with("0.15 for 15 %); write it without a unit, with a decimal point; the attribute states the unit")
    );
}

fn layer(stands: &[&[(&str, &str)]]) -> Vec<crate::parcel::Parcel> {
    let parcel = |(i, attributes): (usize, &&[(&str, &str)])| crate::parcel::Parcel {
        id: format!("p{i}"),
        kind: None,
        geometry: geo::MultiPolygon(Vec::new()),
        lon_lat: geo::MultiPolygon(Vec::new()),
        area_ha: 1.0,
        attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        digest: crate::digest::Sha256::of(&[i as u8]),
    };
    stands.iter().enumerate().map(parcel).collect()
}

/// Volumes that as a whole are those of an open field are told, where no age lets a parcel be judged by itself.
#[test]
fn a_layer_of_little_volume_is_noted_where_no_age_is_known() {
    let told = |set_name: &str, stands: &[&[(&str, &str)]]| -> Vec<String> {
        let found = notes(&Inventory::default(), &set(set_name), &layer(stands));
        found.into_iter().map(|n| n.message).collect()
    };
    let birch = ("species", "白桦");
    let of = |v: &'static str| [birch, ("volume_m3_per_ha", v)];
    let (a, b, c, high, none) = (of("4"), of("5.6"), of("7"), of("300"), of("0"));
    for name in ["cn-ar-cm-001", "fang-2001"] {
        // One large stand and bare land do not move the median of 4, 5.6, 7, 300: 6.3, as m3/mu 94.5 m3/ha.
        let notes = told(name, &[&a, &b, &c, &high, &none]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        for part in
            ["the median of the 4 parcels without planted_on is 6.3 m3/ha, less than 20", "volume_m3_per_mu", "94.5"]
        {
            assert!(notes[0].contains(part), "{part}: {notes:?}");
        }
    }
    assert_eq!(told("cn-ar-cm-001", &[&a, &high]), [""; 0], "152 m3/ha");
    let aged = [birch, ("volume_m3_per_ha", "5.6"), ("planted_on", "1985")];
    assert_eq!(told("cn-ar-cm-001", &[&aged]), [""; 0], "the parcel's own flag says so");
    let per_mu = [birch, ("volume_m3_per_mu", "5.6")];
    assert_eq!(told("cn-ar-cm-001", &[&per_mu]), [""; 0], "84 m3/ha");
    let low_per_mu = [birch, ("volume_m3_per_mu", "0.5")];
    assert!(!told("cn-ar-cm-001", &[&low_per_mu])[0].contains("map the field as"), "it is already");
}

#[test]
fn what_many_parcels_share_is_noted_once() {
    let stands: Vec<[(&str, &str); 2]> =
        ["落叶松", "红豆杉", "落叶松", "龙脑香"].map(|name| [("species", name), ("volume_m3_per_ha", "８５")]).to_vec();
    let stands: Vec<&[(&str, &str)]> = stands.iter().map(|s| s.as_slice()).collect();
    let told: Vec<String> =
        notes(&Inventory::default(), &set("ipcc-2006"), &layer(&stands)).into_iter().map(|n| n.message).collect();
    assert!(told[0].starts_with("2 of 4 parcels name a forest and no ecological zone"), "{told:?}");
    assert!(
        told[1].starts_with("2 of 4 parcels name a forest that") && told[1].contains("红豆杉 (1), 龙脑香 (1)"),
        "{told:?}"
    );
    assert!(told[2].starts_with("attribute volume_m3_per_ha: 4 of 4 parcels write it in full-width"), "{told:?}");
    assert!(told[2].contains("\"８５\", read as \"85\"") && told.len() == 3, "{told:?}");
}

#[test]
fn a_volume_that_does_not_fit_the_age_is_doubted() {
    let ipcc = set("ipcc-2006");
    let doubted = |volume: &str, planted: &str| {
        let attributes = [("species", "油松"), ("volume_m3_per_ha", volume), ("planted_on", planted)];
        Case::new(&ipcc, &attributes, TEMPERATE, &[B]).chain().flags.contains(&Flag::VolumeDoubtful)
    };
    assert!(doubted("6", "1985") && !doubted("6", "2010") && !doubted("60", "1985"));
    assert!(doubted("0", "2019"));
}

#[test]
fn a_forest_type_may_name_its_zone() {
    let ipcc = set("ipcc-2006");
    let id = |attributes: &[(&str, &str)]| {
        let stated = [attributes, &[("volume_m3_per_ha", "85")]].concat();
        Case::new(&ipcc, &stated, "ecological_zone = \"boreal\"", &[B]).chain().model_id
    };
    assert_eq!(id(&[("species", "larch")]), "inventory/ipcc-2006/boreal_larch");
    assert_eq!(
        id(&[("species", "larch"), ("forest_type", "温带山地针叶林")]),
        "inventory/ipcc-2006/temperate_other_conifers"
    );
    assert_eq!(id(&[("forest_type", "温带山地栎林")]), "inventory/ipcc-2006/temperate_oak");
    assert_eq!(
        id(&[("species", "larch"), ("ecological_zone", "temperate")]),
        "inventory/ipcc-2006/temperate_other_conifers"
    );
    assert_eq!(id(&[("species", "红皮云杉")]), "inventory/ipcc-2006/boreal_firs_spruces");
}

#[test]
fn dates_are_read_as_layers_write_them() {
    let read = attributes::read_date;
    for text in [
        "1998-04-05",
        "1998/4/5",
        "1998.4.5",
        "19980405",
        "1998年4月5日",
        "1998/04/05 00:00:00",
        "1998-04-05T00:00:00Z",
    ] {
        assert_eq!(read(text), Some(date(1998, 4, 5)), "{text}");
    }
    assert_eq!(read("1998"), Some(date(1998, 7, 1)));
    assert_eq!(read("1998年"), Some(date(1998, 7, 1)));
    assert_eq!(read("1998-04"), Some(date(1998, 4, 15)));
    assert_eq!(read("1998年4月"), Some(date(1998, 4, 15)));
    for text in ["98-04-05", "1998-02-30", "0", "12", "5/4/1998", "1998-4-5-6", "nineteen", "1998-", ""] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn the_section_is_checked() {
    let check = |text: &str| toml::from_str::<Inventory>(text).unwrap().validate().map_err(|e| e.to_string());
    check("").unwrap();
    assert_eq!(toml::from_str::<Inventory>("").unwrap(), Inventory::default());
    for (text, part) in [
        ("volume_cv = 15.0", "volume_cv: found 15, expected a share of the volume"),
        ("increment_m3_per_ha_a = -1.0", "increment_m3_per_ha_a: found -1"),
        ("increment_cv = 0.0", "increment_cv: found 0"),
        ("max_volume_m3_per_ha = nan", "max_volume_m3_per_ha: found NaN"),
        ("min_volume_m3_per_ha = -1.0", "min_volume_m3_per_ha: found -1"),
        ("yield_table = { \"ten\" = 3.0, \"20\" = 5.0 }", "yield_table: found age \"ten\""),
        ("yield_table = { \"20\" = 5.0 }", "yield_table: found 1 ages"),
        ("yield_table = { \"20\" = 5.0, \"20.0\" = 6.0 }", "yield_table: found 2 ages, or one twice"),
        (
            "increment_m3_per_ha_a = 1.0\nyield_table = { \"10\" = 3.0, \"20\" = 5.0 }",
            "found increment_m3_per_ha_a as well",
        ),
        ("cover = { index_bare = 0.5, index_full = 0.5 }", "cover: found index_bare is 0.5"),
        ("cover = { index_bare = 0.1, index_full = 0.9, window_days = 183 }", "cover.window_days: found 183"),
    ] {
        let message = check(text).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
    assert!(toml::from_str::<Inventory>("volume_cvv = 0.1").unwrap_err().to_string().contains("unknown field"));
}

/// The section of the example configuration, with its optional keys.
#[test]
fn the_example_configuration_shows_every_key() {
    let example = include_str!("../../../configs/example-inventory.toml");
    let section = example.split_once("\n[biomass.inventory]").unwrap().1.split_once("\n[carbon]").unwrap().0;
    let lines = ["[biomass.inventory]"].into_iter().chain(section.lines());
    let is_key =
        |l: &&str| l.split(" = ").next().unwrap().chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '3');
    let text: Vec<&str> =
        lines.map(|l| l.strip_prefix("# ").map(|l| l.trim_start_matches("or: ")).filter(is_key).unwrap_or(l)).collect();
    let table: toml::Table = toml::from_str(&text.join("\n")).unwrap();
    let section = table["biomass"]["inventory"].clone();
    let mut params: Inventory = section.clone().try_into().unwrap();
    assert!(params.yield_table.is_some());
    params.increment_m3_per_ha_a = None;
    params.yield_table = None;
    params.validate().unwrap();
    let keys = |value: &toml::Value| value.as_table().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let all = [
        "species",
        "ecological_zone",
        "surveyed_on",
        "volume_cv",
        "increment_m3_per_ha_a",
        "increment_cv",
        "yield_table",
        "climate_zone",
        "soil_type",
        "min_volume_m3_per_ha",
        "max_volume_m3_per_ha",
        "cover",
    ];
    assert_eq!(keys(&section), all.map(String::from).into());
    assert_eq!(
        keys(&section["cover"]),
        ["index", "index_bare", "index_full", "window_days", "index_se"].map(String::from).into()
    );
}

/// Any stand of any group of any set.
fn stands() -> impl Strategy<Value = (usize, usize, f64, f64, f64)> {
    (0..3usize, 0..64usize, 25.0..400.0f64, 0.0..8.0f64, 0.0..0.5f64)
}

fn group_of(set: &ParameterSet, at: usize) -> (String, String) {
    let names = [
        ("larch", "boreal"),
        ("油松", "temperate"),
        ("白桦", "temperate"),
        ("栎类", "temperate"),
        ("杨树", "boreal"),
        ("杉木", "temperate"),
    ];
    let (name, zone) = names[at % names.len()];
    set.volume_group(name, Some(zone)).unwrap();
    (name.to_owned(), format!("ecological_zone = \"{zone}\"\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // Pools sum to the total, in the estimate and in every draw; a parcel cut in two sums to the whole; the change over two
    // periods is the sum of both.
    #[test]
    fn pools_parts_and_periods_sum_up((s, g, v, increment, share) in stands(), cut in 0.1..0.9f64) {
        let set = set(["ipcc-2006", "fang-2001", "cn-ar-cm-001"][s]);
        let (name, zone) = group_of(&set, g);
        let (v, increment) = (v.to_string(), increment.to_string());
        let attributes = [("species", name.as_str()), ("volume_m3_per_ha", &v), ("increment_m3_per_ha_a", &increment)];
        let lost = move |_: Date, b: Date| Estimate { value: if b >= B { share } else { 0.0 }, se: share / 10.0 };
        let section = format!("{zone}volume_cv = 0.15\nincrement_cv = 0.2\n");
        let case = Case { lost: Some(&lost), ..Case::new(&set, &attributes, &section, &[A, B, C]) };
        let chain = case.chain();
        let mc = MonteCarlo::new(Draws::new(1, 500));
        let periods = [[A, B], [B, C], [A, C]];
        let of = |area: f64| mc.tonnes(&chain, &Factor::exact(area), &periods);
        let (whole, one, other) = (of(AREA_HA), of(AREA_HA * cut), of(AREA_HA * (1.0 - cut)));
        for epoch in [A, B, C] {
            let stock = |t: &Tonnes, pool| t.stocks[&(epoch, pool)].spread.estimate;
            let sum: f64 = LIVING.iter().map(|pool| stock(&whole, *pool)).sum();
            prop_assert!((sum / stock(&whole, Pool::Total) - 1.0).abs() < 1e-12);
            prop_assert!(stock(&whole, Pool::Belowground) > 0.0);
            let parts = stock(&one, Pool::Total) + stock(&other, Pool::Total);
            prop_assert!((parts / stock(&whole, Pool::Total) - 1.0).abs() < 1e-12);
            let draws = |pool| &whole.stocks[&(epoch, pool)].draws;
            for (i, total) in draws(Pool::Total).iter().enumerate() {
                let sum = draws(Pool::Aboveground)[i] + draws(Pool::Belowground)[i];
                prop_assert!((sum / total - 1.0).abs() < 1e-12);
            }
        }
        let delta = |a, b| whole.deltas[&(a, b)].spread.estimate;
        let scale = whole.stocks[&(A, Pool::Total)].spread.estimate;
        prop_assert!((delta(A, B) + delta(B, C) - delta(A, C)).abs() < 1e-12 * scale);
    }

    // Nothing grows, nothing is lost, so the interval of the change contains 0; also where the change method has an error.
    #[test]
    fn no_growth_and_no_loss_change_nothing((s, g, v, _, _) in stands(), se in 0.0..0.05f64) {
        let set = set(["ipcc-2006", "fang-2001", "cn-ar-cm-001"][s]);
        let (name, zone) = group_of(&set, g);
        let v = v.to_string();
        let lost = move |_: Date, b: Date| Estimate { value: 0.0, se: if b == C { se } else { 0.0 } };
        let section = format!("{zone}volume_cv = 0.15\n");
        let attributes = [("species", name.as_str()), ("volume_m3_per_ha", &v)];
        let tonnes = Case { lost: Some(&lost), ..Case::new(&set, &attributes, &section, &[B, C]) }.tonnes();
        let spread = tonnes.deltas[&(B, C)].spread;
        prop_assert_eq!(spread.estimate, 0.0);
        prop_assert!(spread.ci90.0 <= 0.0 && spread.ci90.1 >= 0.0);
    }

    // More volume is more carbon within a class, and a growing stand never loses, whatever classes it grows through.
    #[test]
    fn carbon_grows_with_volume((s, g, v, increment, _) in stands()) {
        let set = set(["ipcc-2006", "fang-2001", "cn-ar-cm-001"][s]);
        let (name, zone) = group_of(&set, g);
        let (v, increment) = (v.to_string(), (0.1 + increment).to_string());
        let attributes = [("species", name.as_str()), ("volume_m3_per_ha", &v), ("increment_m3_per_ha_a", &increment)];
        let chain = Case::new(&set, &attributes, &zone, &[A, B, C]).chain();
        prop_assert!(total(&chain, A) < total(&chain, B) && total(&chain, B) < total(&chain, C));
        prop_assert!(chain.estimate(&chain.gain_loss[&(A, B)]) > 0.0);
    }

    // Whatever text stands in the attributes, the answer is a chain or a reason, never a panic.
    #[test]
    fn any_text_is_answered(values in prop::collection::vec("\\PC{0,12}|-?[0-9]{1,6}(\\.[0-9]{1,3})?|[0-9]{4}[-/年][0-9]{1,2}", 11)) {
        let fang = set("fang-2001");
        let mut attributes: Vec<(&str, &str)> = ATTRIBUTES.iter().copied().zip(values.iter().map(String::as_str)).collect();
        prop_assert!(Case::new(&fang, &attributes, "", &[B, C]).assess().map_or_else(|e| !e.message.is_empty(), |_| true));
        attributes[0].1 = "larch";
        prop_assert!(Case::new(&fang, &attributes, "", &[B, C]).assess().map_or_else(|e| !e.message.is_empty(), |_| true));
    }
}
