//! How the work is cut and done: tasks whose results are files named by what they depend on, so that they can be done by
//! anyone, in any order, twice, or not at all when the file is there.

pub mod extraction;
pub mod lacking;
pub mod local;
pub mod plan;
pub mod terrain;

/// What the work reports while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A stage begins: its name, what it counts, how many.
    Begin(&'a str, &'a str, u64),
    /// So many more are done.
    Advance(u64),
    /// The stage is over.
    End,
}

/// Receiver of events; called from several threads.
pub type Progress<'a> = &'a (dyn Fn(Event) + Sync);
