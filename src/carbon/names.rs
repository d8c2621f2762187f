//! Which forest does a word of a parcel layer mean? Names of species and forest types in Chinese, Latin and English, one
//! table for all parameter sets (`configs/parameters/species.toml`, whose head tells its rules).
//!
//! A name means a taxon, a taxon lies within a wider one, and a parameter set gives its values to some of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Sha256;

const TABLE: &str = include_str!("../../configs/parameters/species.toml");

/// Endings that do not change which taxon is meant, longest first.
const ENDINGS: [&str; 13] = [
    " plantations",
    " plantation",
    " forests",
    " forest",
    " stands",
    " stand",
    "人工林",
    "天然林",
    "次生林",
    "纯林",
    "林",
    "类",
    "属",
];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    taxa: BTreeMap<String, Taxon>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Taxon {
    within: Option<String>,
    #[serde(default)]
    zh: Vec<String>,
    #[serde(default)]
    la: Vec<String>,
    #[serde(default)]
    en: Vec<String>,
}

/// The table of names.
#[derive(Debug, Clone)]
pub(super) struct Names {
    taxa: BTreeMap<String, Taxon>,
    /// Normalised name to taxon.
    names: BTreeMap<String, String>,
    /// Normalised Latin name to taxon.
    latin: BTreeMap<String, String>,
    sha256: String,
}

/// As names are compared: lower case, single spaces, no space at the ends.
pub(super) fn normalised(name: &str) -> String {
    name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Names {
    /// The table that comes with the program.
    ///
    /// # Errors
    /// When it is not TOML, a name stands twice, or a taxon lies within one that is none or within itself.
    pub fn load() -> Result<Self, String> {
        Self::parse(TABLE)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let File { taxa } = toml::from_str(text).map_err(|e| e.to_string())?;
        let (mut names, mut latin) = (BTreeMap::new(), BTreeMap::new());
        for (id, taxon) in &taxa {
            let mut wider = Some(id);
            for _ in 0..=taxa.len() {
                wider = match wider.map(|w| taxa.get(w).ok_or(w)) {
                    None => break,
                    Some(Ok(taxon)) => taxon.within.as_ref(),
                    Some(Err(unknown)) => return Err(format!("taxon {id:?} lies within {unknown:?}, which is none")),
                };
            }
            if wider.is_some() {
                return Err(format!("taxon {id:?} lies within itself"));
            }
            for name in taxon.zh.iter().chain(&taxon.la).chain(&taxon.en) {
                if let Some(other) = names.insert(normalised(name), id.clone()) {
                    return Err(format!("name {name:?} of taxon {id:?} also stands at {other:?}"));
                }
            }
            latin.extend(taxon.la.iter().map(|name| (normalised(name), id.clone())));
        }
        Ok(Names { taxa, names, latin, sha256: Sha256::of(text.as_bytes()).to_string() })
    }

    /// SHA-256 of the table's text, hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The taxon that a name means.
    pub fn taxon(&self, name: &str) -> Option<&str> {
        let name = normalised(name);
        let mut short = name.as_str();
        loop {
            if let Some(taxon) = self.names.get(short) {
                return Some(taxon);
            }
            match ENDINGS.iter().find_map(|ending| short.strip_suffix(ending)) {
                Some(shorter) if !shorter.is_empty() => short = shorter,
                _ => break,
            }
        }
        let words: Vec<&str> = name.split(' ').collect();
        (1..=words.len()).rev().find_map(|n| self.latin.get(&words[..n].join(" "))).map(String::as_str)
    }

    /// A taxon and what it lies within, the narrowest first. An id that the table does not have is a taxon of its own.
    pub fn lineage<'a>(&'a self, taxon: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::successors(Some(taxon), |t| self.taxa.get(*t)?.within.as_deref())
    }

    /// Names as they are written, each with its taxon, in the order of the taxa's ids.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.taxa
            .iter()
            .flat_map(|(id, t)| t.zh.iter().chain(&t.la).chain(&t.en).map(move |name| (name.as_str(), id.as_str())))
    }
}

/// The names nearest to what was found, at most `n` of them, and how many there are besides: for messages. Names that have
/// nothing in common with it are only counted.
pub(super) fn nearest<'a>(found: &str, names: impl Iterator<Item = &'a str>, n: usize) -> String {
    let found = normalised(found);
    let mut scored: Vec<(f64, &str)> = names
        .map(|name| {
            let known = normalised(name);
            let within = known.contains(&found) || found.contains(&known);
            (strsim::normalized_damerau_levenshtein(&found, &known) + if within { 1.0 } else { 0.0 }, name)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.dedup_by_key(|(_, name)| *name);
    let shown: Vec<&str> = scored.iter().filter(|(score, _)| *score > 0.0).take(n).map(|(_, name)| *name).collect();
    if shown.is_empty() {
        return format!("{} names, none of them like it", scored.len());
    }
    match scored.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_layers_are_understood() {
        let names = Names::load().unwrap();
        for (name, taxon) in [
            ("落叶松", Some("larix")),
            (" 落叶松人工林 ", Some("larix")),
            ("Larix gmelinii (Rupr.) Kuzen.", Some("larix")),
            ("LARCH  forest", Some("larix")),
            ("Pinus sylvestris var. mongolica Litv.", Some("pinus_sylvestris_mongolica")),
            ("Pinus sylvestris L.", Some("other_pine")),
            ("Pinus mugo", Some("pinus")),
            ("杨树林", Some("populus")),
            ("针阔混交林", Some("mixed")),
            ("阔叶混交林", Some("mixed_broadleaf")),
            ("混交林", None),
            ("mixed forest", None),
            ("Salix", None),
            ("Salix psammophila", Some("shrub")),
            ("林", None),
            ("", None),
        ] {
            assert_eq!(names.taxon(name), taxon, "{name}");
        }
        assert_eq!(names.lineage("larix").collect::<Vec<_>>(), ["larix", "other_conifer", "conifer"]);
        assert_eq!(names.lineage("own").collect::<Vec<_>>(), ["own"]);
    }

    #[test]
    fn every_name_of_the_table_means_its_taxon() {
        let names = Names::load().unwrap();
        assert!(names.all().count() > 200);
        for (name, taxon) in names.all() {
            assert_eq!(names.taxon(name), Some(taxon), "{name}");
        }
    }

    #[test]
    fn another_table_has_another_digest() {
        let digest = |text: &str| Names::parse(text).unwrap().sha256;
        assert_eq!(Names::load().unwrap().sha256, Sha256::of(TABLE.as_bytes()).to_string());
        assert_ne!(digest("[taxa.a]\nzh = [\"松\"]\n"), digest("[taxa.a]\nzh = [\"柏\"]\n"));
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let twice = Names::parse("[taxa.a]\nzh = [\"松\"]\n[taxa.b]\nen = [\"松\"]\n").unwrap_err();
        assert_eq!(twice, "name \"松\" of taxon \"b\" also stands at \"a\"");
        assert!(Names::parse("[taxa.a]\nwithin = \"b\"\n[taxa.b]\nwithin = \"a\"\n").unwrap_err().contains("itself"));
        assert!(Names::parse("[taxa.a]\nwithin = \"b\"\n").unwrap_err().contains("which is none"));
    }

    #[test]
    fn nearest_names_come_first() {
        let names = ["红松", "落叶松", "阔叶林", "larch"];
        assert_eq!(nearest("落叶松林子", names.into_iter(), 2), "落叶松, 阔叶林 and 2 more");
        assert_eq!(nearest("Larhc", names.into_iter(), 4), "larch and 3 more");
        assert_eq!(nearest("xyz", names.into_iter(), 2), "4 names, none of them like it");
    }
}
