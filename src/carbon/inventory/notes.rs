//! What the attributes of a whole layer tell that those of one parcel do not, or that would else be told once a parcel.

use std::collections::BTreeMap;

use super::attributes::{
    Attributes, INCREMENT, INCREMENT_CV, MU_PER_HA, PLANTED_ON, SURVEYED_ON, VOLUME, VOLUME_CV, VOLUME_PER_MU,
    half_width,
};
use super::{Inventory, LITTLE_M3_PER_HA, METHOD, NoGroup, group};
use crate::carbon::ParameterSet;
use crate::carbon::layer::{Known, Misfits};
use crate::parcel::{Note, Parcel, Topic};

/// What is to be known about a layer before any scene is looked at.
pub fn notes(params: &Inventory, set: &ParameterSet, parcels: &[Parcel]) -> Vec<Note> {
    let (zones, names) = set.known_groups();
    let known = Known { set, method: METHOD, zones, names };
    let mut notes = misfits(params, set, parcels).notes(&known, parcels.len());
    notes.extend(wide_digits(parcels));
    notes.extend(little_volume(params, parcels));
    notes
}

fn misfits(params: &Inventory, set: &ParameterSet, parcels: &[Parcel]) -> Misfits {
    // Many parcels, few words.
    let mut by_words: BTreeMap<[Option<&str>; 3], Vec<&Parcel>> = BTreeMap::new();
    for parcel in parcels {
        let attributes = Attributes(&parcel.attributes);
        let words = [super::SPECIES, super::FOREST_TYPE, super::ECOLOGICAL_ZONE].map(|name| attributes.text(name));
        by_words.entry(words).or_default().push(parcel);
    }
    let mut misfits = Misfits::default();
    for alike in by_words.values() {
        if let Some(Err(NoGroup::Unknown { why, .. })) =
            alike.first().map(|p| group(&Attributes(&p.attributes), params, set))
        {
            alike.iter().for_each(|_| misfits.add(&why));
        }
    }
    misfits
}

/// Numbers and dates in full-width digits mean what they say: they are read, and that is told.
fn wide_digits(parcels: &[Parcel]) -> Vec<Note> {
    let read = [VOLUME, VOLUME_PER_MU, VOLUME_CV, INCREMENT, INCREMENT_CV, PLANTED_ON, SURVEYED_ON];
    let note = |name: &str| {
        let texts = || parcels.iter().filter_map(|p| Attributes(&p.attributes).text(name));
        let wide = || texts().filter(|text| half_width(text) != *text);
        let first = wide().next()?;
        let message = format!(
            "attribute {name}: {} of {} parcels write it in full-width characters, the first {first:?}, read as {:?}",
            wide().count(),
            parcels.len(),
            half_width(first)
        );
        Some(Note::new(Topic::Attribute, &[], message))
    };
    read.into_iter().filter_map(note).collect()
}

/// Volumes that as a whole are too small for a forest, where no date of planting lets each be judged by its age: the median
/// lies within the lowest class of growing stock of IPCC 2006 Vol 4 Table 4.5.
fn little_volume(params: &Inventory, parcels: &[Parcel]) -> Option<Note> {
    let ageless = parcels.iter().filter_map(|p| {
        let attributes = Attributes(&p.attributes);
        let volume = attributes.volume(params.max_volume_m3_per_ha).ok().filter(|v| *v > 0.0)?;
        (!matches!(attributes.date(PLANTED_ON), Ok(Some(_)))).then_some(volume)
    });
    let mut volumes: Vec<f64> = ageless.collect();
    volumes.sort_by(f64::total_cmp);
    let n = volumes.len();
    let median = 0.5 * (volumes.get(n / 2)? + volumes.get((n - 1) / 2)?);
    let per_ha = parcels.iter().any(|p| Attributes(&p.attributes).text(VOLUME).is_some());
    let unit = if per_ha {
        format!(
            "if the layer states m3 per mu (亩), map the field as {VOLUME_PER_MU} (the median is then {:.1} m3/ha)",
            median * MU_PER_HA
        )
    } else {
        "check the field".to_owned()
    };
    let message = format!(
        "volumes: the median of the {n} parcels without {PLANTED_ON} is {median:.1} m3/ha, less than {LITTLE_M3_PER_HA} m3/ha, \
         the bound of the lowest class of growing stock of IPCC 2006 Vol 4 Table 4.5: young or very open stands, or another \
         unit; {unit}; where {PLANTED_ON} is mapped each parcel is judged by its age"
    );
    (median < LITTLE_M3_PER_HA).then(|| Note::new(Topic::Attribute, &[], message))
}
