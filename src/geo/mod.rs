//! Where a parcel lies on a raster and how large it is: the grid, the exact footprint on it, the geodesic area.
//!
//! Coverage fractions are weights, never areas: the area of a parcel is its geodesic area ([`geodesic_area_m2`]),
//! whatever projection the raster is in.

pub mod area;
pub mod coverage;
pub mod crs;
pub mod datum;
pub mod grid;
pub mod lattice;
pub mod north;
pub mod outline;
pub mod repair;
pub mod zone;

pub use area::{geodesic_area_m2, geodesic_perimeter_m, planar_area_m2};
pub use coverage::{CoverageError, Footprint, Span, footprint, lattice_footprint};
pub use crs::Crs;
pub use grid::{Grid, Window};
pub use lattice::Lattice;
