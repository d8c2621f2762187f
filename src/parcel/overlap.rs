//! Which parcels lie on each other: found by an R-tree, measured on the ellipsoid, reported and never cut, since only
//! their owner knows whose the ground is.

use std::collections::{BTreeMap, BTreeSet};

use geo::algorithm::bool_ops::unary_union;
use geo::{BooleanOps, BoundingRect};
use rayon::prelude::*;
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, RTree};

use super::Parcel;
use crate::geo::area::geodesic_area_m2;
use crate::units::M2_PER_HA;

/// Smallest overlap that counts, square metres: less is digitising noise of shared borders.
const SMALLEST_M2: f64 = 1.0;
/// And as a share of the smaller parcel.
const SMALLEST_SHARE: f64 = 1e-6;

/// Two parcels on the same ground.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Positions of the parcels.
    pub pair: (usize, usize),
    /// Hectares.
    pub area_ha: f64,
}

/// All pairs, largest overlap first.
pub fn overlaps(parcels: &[Parcel]) -> Vec<Overlap> {
    let boxes: Vec<_> = parcels
        .iter()
        .enumerate()
        .filter_map(|(i, p)| {
            let r = p.lon_lat.bounding_rect()?;
            Some(GeomWithData::new(Rectangle::from_corners([r.min().x, r.min().y], [r.max().x, r.max().y]), i))
        })
        .collect();
    let tree = RTree::bulk_load(boxes.clone());
    let mut found: Vec<Overlap> = boxes
        .par_iter()
        .flat_map_iter(|one| {
            let (low, high) = (one.geom().lower(), one.geom().upper());
            let near = tree.locate_in_envelope_intersecting(&AABB::from_corners(low, high));
            near.filter(|other| other.data > one.data)
                .filter(|other| common_box_m2((low, high), (other.geom().lower(), other.geom().upper())) >= SMALLEST_M2)
                .filter_map(|other| measure(parcels, one.data, other.data))
                .collect::<Vec<_>>()
        })
        .collect();
    found.sort_by(|a, b| b.area_ha.total_cmp(&a.area_ha).then(a.pair.cmp(&b.pair)));
    found
}

/// What share of its ground each parcel has that no earlier one (by position) has, where that is less than all; and the ground
/// that all parcels cover together, hectares, measured in another way.
pub fn own_shares(parcels: &[Parcel]) -> (BTreeMap<usize, f64>, f64) {
    let mut earlier: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut involved: BTreeSet<usize> = BTreeSet::new();
    for overlap in overlaps(parcels) {
        let (a, b) = overlap.pair;
        earlier.entry(b).or_default().push(a);
        involved.extend([a, b]);
    }
    let shares = earlier
        .par_iter()
        .map(|(b, earlier)| {
            let others = unary_union(earlier.iter().map(|a| &parcels[*a].lon_lat));
            let common_ha = geodesic_area_m2(&parcels[*b].lon_lat.intersection(&others)) / M2_PER_HA;
            (*b, (1.0 - common_ha / parcels[*b].area_ha).clamp(0.0, 1.0))
        })
        .collect();
    let alone: f64 = (0..parcels.len()).filter(|i| !involved.contains(i)).map(|i| parcels[i].area_ha).sum();
    let union = unary_union(involved.iter().map(|i| &parcels[*i].lon_lat));
    (shares, alone + geodesic_area_m2(&union) / M2_PER_HA)
}

type Corners = ([f64; 2], [f64; 2]);

/// Area that two boxes in degrees have in common, generously.
fn common_box_m2(a: Corners, b: Corners) -> f64 {
    let side = |i: usize| (a.1[i].min(b.1[i]) - a.0[i].max(b.0[i])).max(0.0) * 111_700.0;
    side(0) * side(1)
}

fn measure(parcels: &[Parcel], a: usize, b: usize) -> Option<Overlap> {
    let area_m2 = geodesic_area_m2(&parcels[a].lon_lat.intersection(&parcels[b].lon_lat));
    let smaller_m2 = parcels[a].area_ha.min(parcels[b].area_ha) * M2_PER_HA;
    (area_m2 > SMALLEST_M2 && area_m2 > SMALLEST_SHARE * smaller_m2)
        .then_some(Overlap { pair: (a.min(b), a.max(b)), area_ha: area_m2 / M2_PER_HA })
}
