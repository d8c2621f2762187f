//! Integration tests: the built program on the images in `testdata/`, copied where they are to be damaged.

mod accuracy;
mod bfast;
mod catalog;
mod ccdc;
mod change;
mod cli;
mod cost;
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
mod series;
mod support;
mod synthetic;
mod traced;
mod zones;
