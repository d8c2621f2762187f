//! What a run leaves behind: tables, the store that holds them, the manifest that describes them.

pub mod geoparquet;
pub mod manifest;
pub mod maps;
pub mod store;
pub mod table;
