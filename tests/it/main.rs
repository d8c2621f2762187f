//! Integration tests: the built program on the images in `testdata/`, copied where they are to be damaged.

mod catalog;
mod bfast;
mod change;
mod cli;
mod docs;
mod faults;
mod gaps;
mod golden;
mod landtrendr;
mod layering;
mod parcels;
mod parity;
mod passes;
mod pixels;
mod reference;
mod regression;
mod resume;
mod scenes;
mod support;
mod synthetic;
mod traced;
mod zones;
