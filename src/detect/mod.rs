//! What happened to the pixels of a parcel: from values through time to dated losses.

pub mod two_date;
