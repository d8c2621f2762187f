//! Forest carbon evidence per parcel from Sentinel-2 and Landsat.
//!
//! [`run::run`] loads nothing itself: [`config::Settings`] says where the parcels and scenes are. [`parcel`] reads the
//! polygons and sets aside what is none; [`imagery`] turns product metadata into scenes. [`engine::plan`] finds the grids,
//! computes each parcel's footprint once a grid ([`geo::coverage`]), looks into the store and lists what is not done yet.
//! [`cube::extract`] takes one scene, decodes each raster block that a footprint touches once, and keeps the footprint
//! pixels in a cube file with their statistics ([`zonal`]). [`analyse`] turns the observations of a parcel into series,
//! stocks and deltas; [`detect`] reads pixels through time from the cube. [`record`] writes the tables and the run record,
//! [`report`] tells people of them. [`calibrate`] does the same for field plots in place of parcels, and fits a biomass model
//! to what it sees.
//!
//! Modules form a total order: a file uses only what stands above it in the list below (checked by a test). GDAL is named
//! in [`gdal_io`] alone, PROJ in [`geo::crs`] alone.

#![warn(missing_docs)]
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test"))]

pub mod error;
pub mod units;
pub mod digest;
pub mod files;
pub mod columnar;
pub mod geo;
pub mod zonal;
pub mod gdal_io;
pub mod parcel;
pub mod imagery;
pub mod index;
pub mod cube;
pub mod series;
pub mod detect;
pub mod carbon;
pub mod accuracy;
pub mod config;
pub mod record;
pub mod report;
pub mod analyse;
pub mod mosaic;
pub mod engine;
pub mod gather;
pub mod stack;
pub mod predict;
pub mod state;
pub mod change;
pub mod account;
pub mod traced;
pub mod run;
pub mod calibrate;
