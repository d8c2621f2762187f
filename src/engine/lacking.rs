//! What was asked for and the scenes cannot give: indices and bands that some or all of them lack, change methods that have
//! too few scenes or none in their period. Said before the work is done, so that nothing is missing silently.

use std::collections::BTreeSet;

use super::plan::PlannedScene;
use crate::config::Settings;
use crate::cube::layout::candidates;
use crate::detect::{Method, Want};
use crate::error::{Quarantine, Reason, Stage};
use crate::imagery::{Band, Layer};
use crate::index;
use crate::parcel::{Note, Topic};
use crate::units::days;

/// Scenes that a message names.
const NAMED: usize = 3;

/// Notes on what some scenes lack, and what no scene can give as set aside.
pub fn lacking(settings: &Settings, scenes: &[PlannedScene]) -> (Vec<Note>, Vec<Quarantine>) {
    let (mut notes, mut none) = (Vec::new(), Vec::new());
    if scenes.is_empty() {
        return (notes, none);
    }
    let options = &settings.options;
    let methods = options.change.methods();
    let indices = options.observe.indices.iter().cloned().map(Want::Index);
    for want in indices.chain(options.change.bands().into_iter().map(Want::Band)) {
        let name = want.name();
        let without: Vec<&PlannedScene> = scenes.iter().filter(|s| s.layout.missing.contains(&name)).collect();
        if without.is_empty() {
            continue;
        }
        let readers: Vec<&Method> = methods.iter().filter(|m| m.wants().contains(&want)).collect();
        let readers = readers.iter().map(|m| format!("[change.{}]", m.name())).collect::<Vec<_>>().join(", ");
        let bands = bands_wanting(&want, &without);
        if without.len() < scenes.len() {
            let passed = if readers.is_empty() { String::new() } else { format!("; {readers} passes over them") };
            let message = format!(
                "{name}: {} of {} scenes cannot give it, for want of {bands}: {}{passed}",
                without.len(),
                scenes.len(),
                named(&without)
            );
            notes.push(Note::new(Topic::Imagery, &[], message));
        } else {
            let asked = if matches!(want, Want::Index(_)) { "[observe] indices" } else { readers.as_str() };
            let message = format!(
                "found none in {} scenes, which lack {bands} ({}), expected at least one scene that can give it; add such \
                 scenes, or take `{name}` out of {asked}",
                scenes.len(),
                named(&without)
            );
            none.push(Quarantine::layer(&name, Stage::Catalog, Reason::MissingBands, message));
        }
    }
    for method in &methods {
        let lacks = |s: &PlannedScene| method.wants().iter().any(|w| s.layout.missing.contains(&w.name()));
        let dates: Vec<_> = scenes.iter().filter(|s| !lacks(s)).map(|s| s.scene.date()).collect();
        let mut on: Vec<i32> = dates.iter().map(|d| days(*d)).collect();
        on.sort_unstable();
        if let Some(why) = method.lacks(&on) {
            let seen = match (dates.iter().min(), dates.iter().max()) {
                (Some(first), Some(last)) => {
                    format!("{} scenes with what it reads, {first} to {last}", dates.len())
                }
                _ => "no scene with all that it reads".to_owned(),
            };
            let message = format!("change.{}: found {seen}; {why}: no parcel can be judged by it", method.name());
            notes.push(Note::new(Topic::Imagery, &[], message));
        }
    }
    (notes, none)
}

/// Bands without which these scenes cannot give a layer.
fn bands_wanting(want: &Want, scenes: &[&PlannedScene]) -> String {
    let needed: Vec<Band> = match want {
        Want::Index(id) => index::by_id(id).map_or_else(Vec::new, |spec| spec.bands.to_vec()),
        Want::Band(band) => vec![*band],
    };
    let wanting = |band: &Band| scenes.iter().any(|s| candidates(*band, &s.scene).is_empty());
    let names: BTreeSet<String> = needed.into_iter().filter(wanting).map(|b| Layer::Band(b).name()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// The first scenes by name, and how many more there are.
fn named(scenes: &[&PlannedScene]) -> String {
    let mut names: Vec<&str> = scenes.iter().take(NAMED).map(|s| s.scene.id.as_str()).collect();
    let more = format!("and {} more", scenes.len().saturating_sub(NAMED));
    if scenes.len() > NAMED {
        names.push(&more);
    }
    names.join(", ")
}
