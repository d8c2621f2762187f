//! Integration tests: the built program on the images in `testdata/`, copied where they are to be damaged.

mod ccdc;
mod change;
mod cli;
mod docs;
mod faults;
mod golden;
mod layering;
mod parity;
mod passes;
mod parcels;
mod pixels;
mod reference;
mod regression;
mod resume;
mod scenes;
mod support;
