//! Tests of the whole: one binary, so that it is linked once.

mod pixels;
mod reference;
mod scenes;
