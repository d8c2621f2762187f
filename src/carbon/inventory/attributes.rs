//! What a parcel layer says of a stand, read from text, and what is wrong with it.
//!
//! Nothing is guessed: a number with a unit, a comma or in words is refused with what to do about it. Full-width digits mean
//! one thing only, so they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::civil::Date;

use super::refusal;
use crate::carbon::chain::Refusal;
use crate::error::Reason;

pub(super) const SPECIES: &str = "species";
pub(super) const FOREST_TYPE: &str = "forest_type";
pub(super) const VOLUME: &str = "volume_m3_per_ha";
pub(super) const VOLUME_PER_MU: &str = "volume_m3_per_mu";
pub(super) const VOLUME_CV: &str = "volume_cv";
pub(super) const PLANTED_ON: &str = "planted_on";
pub(super) const SURVEYED_ON: &str = "surveyed_on";
pub(super) const INCREMENT: &str = "increment_m3_per_ha_a";
pub(super) const INCREMENT_CV: &str = "increment_cv";
pub(super) const ECOLOGICAL_ZONE: &str = "ecological_zone";
pub(super) const SOIL_TYPE: &str = "soil_type";

/// Mu (亩) in a hectare.
pub(super) const MU_PER_HA: f64 = 15.0;
/// Largest increment that is taken for one, m3/ha/a: twice the fastest eucalypts.
pub(super) const MAX_INCREMENT_M3_PER_HA_A: f64 = 100.0;
/// What two statements of one volume may differ by, as a share: rounding.
const SAME_VOLUME: f64 = 0.01;
/// What to do about a volume that is out of range.
pub(super) const MU_HINT: &str = "if the layer states m3 per mu (亩), map the field as volume_m3_per_mu";

pub(super) const VOLUME_CV_EXPECTED: &str = "a share of the volume, above 0, at most 1 (0.15 for 15 %)";
pub(super) const INCREMENT_EXPECTED: &str = "m3 per hectare and year, 0 to 100";
pub(super) const INCREMENT_CV_EXPECTED: &str = "a share of the increment, above 0, at most 2 (0.2 for 20 %)";

pub(super) fn is_volume_cv(v: f64) -> bool {
    v > 0.0 && v <= 1.0
}

pub(super) fn is_increment(v: f64) -> bool {
    (0.0..=MAX_INCREMENT_M3_PER_HA_A).contains(&v)
}

pub(super) fn is_increment_cv(v: f64) -> bool {
    v > 0.0 && v <= 2.0
}

/// The text with full-width digits, points, signs and slashes as their ASCII twins.
pub(super) fn half_width(text: &str) -> Cow<'_, str> {
    let wide = |c: &char| matches!(c, '０'..='９' | '．' | '＋' | '－' | '／');
    if !text.chars().any(|c| wide(&c)) {
        return Cow::Borrowed(text);
    }
    // Full-width forms stand in the order of ASCII.
    let narrow = |c: char| if wide(&c) { char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c) } else { c };
    Cow::Owned(text.chars().map(narrow).collect())
}

/// A plain number, `12`, `-0.5` or `1.2e3`; or what to do about a text that is none.
fn read_number(text: &str) -> Result<f64, &'static str> {
    const COMMA: &str = "a comma or space may part thousands or be the decimal point: write the number with a decimal point and \
                         nothing else";
    const NOT_KNOWN: &str = "leave it empty where it is not known";
    const IN_WORDS: &str = "write it in digits";
    const UNIT: &str = "write it without a unit, with a decimal point; the attribute states the unit";
    let text = half_width(text);
    let plain = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    // Without the letters of inf and nan; what overflows is beyond any bound.
    if let Ok(v) = text.parse::<f64>()
        && plain
    {
        return Ok(v);
    }
    let digits = text.chars().any(|c| c.is_ascii_digit());
    let between = |c: char| matches!(c, ',' | '，' | '、' | '\'' | '’') || c.is_whitespace();
    let parts: Vec<&str> = text.split(between).collect();
    let parted = parts
        .windows(2)
        .any(|p| p[0].ends_with(|c: char| c.is_ascii_digit()) && p[1].starts_with(|c: char| c.is_ascii_digit()));
    Err(match () {
        () if parted => COMMA,
        () if digits => UNIT,
        () if text.contains(|c| "零〇一二两三四五六七八九十百千万".contains(c)) => IN_WORDS,
        () => NOT_KNOWN,
    })
}

/// Reads attributes of a parcel, and says what is wrong with them.
pub(super) struct Attributes<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Attributes<'a> {
    /// The text of an attribute; empty is absent.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|t| t.trim()).filter(|t| !t.is_empty())
    }

    pub fn text_or<'t>(&'t self, name: &str, section: &'t Option<String>) -> Option<&'t str> {
        self.text(name).or(section.as_deref())
    }

    /// A number that is allowed, if it is stated.
    pub fn number(&self, name: &str, ok: fn(f64) -> bool, expected: &str) -> Result<Option<f64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let help = match read_number(text) {
            Ok(v) if ok(v) => return Ok(Some(v)),
            Ok(_) => "correct it, or leave it empty: then the key of that name under [biomass.inventory] counts",
            Err(help) => help,
        };
        Err(refusal(
            None,
            Reason::BadAttribute,
            format!("attribute {name}: found {text:?}, expected {expected}; {help}"),
        ))
    }

    pub fn date(&self, name: &str) -> Result<Option<Date>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read_date(text).map(Some).ok_or_else(|| {
            let message = format!(
                "attribute {name}: found {text:?}, expected a date such as 1998-04-15 or 1998/4/15, or 1998-04 or 1998 \
                 (then the middle of the month or year is taken)"
            );
            refusal(None, Reason::BadAttribute, message)
        })
    }

    /// Growing stock, m3/ha.
    pub fn volume(&self, max: f64) -> Result<f64, Refusal> {
        let whole = "perhaps it is the volume of the whole parcel: divide it by the area";
        let read = |name: &str, factor: f64, unit: &str| -> Result<Option<f64>, Refusal> {
            let Some(text) = self.text(name) else { return Ok(None) };
            let fail = |expected: String, help: &str| {
                let message = format!("attribute {name}: found {text:?}, expected {expected}; {help}");
                refusal(None, Reason::BadAttribute, message)
            };
            let expected = || format!("growing stock in {unit}, a number from 0 to {}", max / factor);
            let v = factor
                * read_number(text).map_err(|help| {
                    let of_mu = name == VOLUME && (text.contains('亩') || text.to_lowercase().contains("mu"));
                    let help = if of_mu { format!("{help}; {MU_HINT}") } else { help.to_owned() };
                    fail(expected(), &help)
                })?;
            if v < 0.0 {
                return Err(fail(expected(), "leave it empty where it is not known"));
            }
            if v > max {
                let help = format!("{whole}; max_volume_m3_per_ha under [biomass.inventory] moves the bound");
                return Err(fail(expected(), &help));
            }
            Ok(Some(v))
        };
        let (ha, mu) = (read(VOLUME, 1.0, "m3/ha")?, read(VOLUME_PER_MU, MU_PER_HA, "m3/mu")?);
        match (ha, mu) {
            (Some(a), Some(b)) if (a - b).abs() > SAME_VOLUME * a.max(b) => {
                let message = format!(
                    "attribute {VOLUME}: found {a} m3/ha, and by {VOLUME_PER_MU} {b} m3/ha (1 ha = 15 mu), expected one \
                     volume; map only the field that is right"
                );
                Err(refusal(None, Reason::BadAttribute, message))
            }
            (Some(v), _) | (None, Some(v)) => Ok(v),
            (None, None) => {
                let message = format!(
                    "attribute {VOLUME}: found nothing, expected growing stock in m3/ha; fill it in, or map the layer's field \
                     under [parcels] attributes; {MU_HINT}"
                );
                Err(refusal(None, Reason::BadAttribute, message))
            }
        }
    }
}

/// A date as layers write it: year, month and day with `-`, `/`, `.` or 年月日 between them, or eight digits; a month or year
/// alone is its middle.
pub(super) fn read_date(text: &str) -> Option<Date> {
    let text = half_width(text);
    let day = text.split([' ', 'T']).next()?;
    let compact = day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit());
    let day = if compact { format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]) } else { day.to_owned() };
    let parts: Vec<&str> = day.trim_end_matches(['年', '月', '日']).split(['-', '/', '.', '年', '月', '日']).collect();
    let number = |at: usize| parts.get(at).map(|p| p.parse::<i16>());
    let year = number(0)?.ok().filter(|y| (1000..=9999).contains(y))?;
    let (month, default_day) = match number(1) {
        None => (7, 1),
        Some(month) => (month.ok()?, 15),
    };
    let day = number(2).map_or(Some(default_day), Result::ok)?;
    (parts.len() <= 3).then(|| Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()).flatten()
}
