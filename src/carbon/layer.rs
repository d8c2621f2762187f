//! What the words of a whole parcel layer mean to a parameter set, told once. The row of each parcel that is set aside for one
//! of them stays short: what it names, and what to do.

use std::collections::BTreeMap;

use super::{ParameterError, ParameterSet};
use crate::parcel::{Note, Parcel, Topic};

/// Names that a note lists before it says how many more there are.
const LISTED: usize = 20;

/// Names of a layer that lead to no value of a set, and how many parcels carry each.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    without_zone: usize,
    by_zone: BTreeMap<String, usize>,
    by_name: BTreeMap<String, usize>,
}

/// What a set would have understood.
pub(super) struct Known<'a> {
    pub set: &'a ParameterSet,
    /// Section that `ecological_zone` may stand in.
    pub method: &'a str,
    /// Ecological zones with values.
    pub zones: String,
    /// Names with values.
    pub names: String,
}

impl Misfits {
    pub fn add(&mut self, why: &ParameterError) {
        match why {
            ParameterError::ZoneNeeded { .. } => self.without_zone += 1,
            ParameterError::UnknownZone { zone, .. } => *self.by_zone.entry(zone.clone()).or_default() += 1,
            ParameterError::UnknownForestType { name, .. } | ParameterError::UnknownSpecies { name, .. } => {
                *self.by_name.entry(name.clone()).or_default() += 1;
            }
            // Of the set itself, not of the layer.
            _ => {}
        }
    }

    /// One note for each kind of misfit in a layer of `parcels` parcels.
    pub fn notes(&self, known: &Known, parcels: usize) -> Vec<Note> {
        let (set, mut notes) = (known.set.name(), Vec::new());
        let mut tell = |message: String| notes.push(Note::new(Topic::Attribute, &[], message));
        if self.without_zone > 0 {
            tell(format!(
                "{} of {parcels} parcels name a forest and no ecological zone, without which parameter set {set:?} has several \
                 values for it; give ecological_zone under [biomass.{}], one of {}",
                self.without_zone, known.method, known.zones
            ));
        }
        for (zone, n) in &self.by_zone {
            tell(format!(
                "{n} of {parcels} parcels lie in ecological zone {zone:?}, where parameter set {set:?} has no factors for growing \
                 stock; it has them in {}; use a set without zones, or put values with their source into a copy of the set \
                 ([carbon] parameter_set takes a file)",
                known.zones
            ));
        }
        if !self.by_name.is_empty() {
            let mut names: Vec<(&String, &usize)> = self.by_name.iter().collect();
            names.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
            let told: Vec<String> = names.iter().take(LISTED).map(|(name, n)| format!("{name} ({n})")).collect();
            let more = match names.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more names"),
            };
            tell(format!(
                "{} of {parcels} parcels name a forest that parameter set {set:?} has no values for: {}{more}; it has values for \
                 {}, and what lies within them; correct the names, or put them under [aliases], or values with their source, \
                 into a copy of the set ([carbon] parameter_set takes a file)",
                self.by_name.values().sum::<usize>(),
                told.join(", "),
                known.names
            ));
        }
        notes
    }
}

/// Notes for a method that knows parcels by their forest type. `stated` and `zone` are those of its section.
pub fn forest_type_notes(
    method: &str,
    set: &ParameterSet,
    parcels: &[Parcel],
    (stated, zone): (Option<&str>, Option<&str>),
) -> Vec<Note> {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for name in parcels.iter().filter_map(|p| p.attributes.get("forest_type").map(String::as_str).or(stated)) {
        *by_name.entry(name).or_default() += 1;
    }
    let mut misfits = Misfits::default();
    for (name, n) in by_name {
        if let Err(why) = set.forest_type(name, zone) {
            (0..n).for_each(|_| misfits.add(&why));
        }
    }
    let (zones, names) = set.known_types();
    misfits.notes(&Known { set, method, zones, names }, parcels.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_misfit_is_told_once() {
        let set = ParameterSet::builtin("ipcc-2006").unwrap();
        let mut misfits = Misfits::default();
        for (name, zone) in [
            ("油松", None),
            ("larch", None),
            ("红豆杉", Some("temperate")),
            ("龙脑香", Some("temperate")),
            ("龙脑香", Some("temperate")),
            ("杨树", Some("tropical_dry")),
        ] {
            misfits.add(&set.volume_group(name, zone).unwrap_err());
        }
        let (zones, names) = set.known_groups();
        let notes = misfits.notes(&Known { set: &set, method: "inventory", zones, names }, 9);
        let told: Vec<&str> = notes.iter().map(|n| n.message.as_str()).collect();
        assert!(told[0].starts_with("2 of 9 parcels name a forest and no ecological zone"), "{told:?}");
        assert!(
            told[0].contains("under [biomass.inventory], one of boreal, ") && told[0].contains("temperate_mountain")
        );
        assert!(told[1].starts_with("1 of 9 parcels lie in ecological zone \"tropical_dry\""), "{told:?}");
        assert!(told[2].starts_with("3 of 9 parcels name") && told[2].contains("龙脑香 (2), 红豆杉 (1);"), "{told:?}");
        assert_eq!(told.len(), 3);
        assert!(
            Misfits::default()
                .notes(&Known { set: &set, method: "", zones: String::new(), names: String::new() }, 9)
                .is_empty()
        );
    }
}
