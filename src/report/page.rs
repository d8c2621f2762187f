//! HTML that is also well-formed XML: paragraphs in both languages, tables, pictures in a container of their own. Every
//! text from outside goes through [`escape`].

use std::fmt::Write as _;

use super::svg::escape;
use super::text::{Both, fill};

const STYLE: &str = include_str!("page.css");

/// How a column looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Words; lines break.
    Words,
    /// A few words; lines break early.
    Short,
    /// A name or date; no line breaks.
    Key,
    /// A number; to the right.
    Number,
    /// A digest or path.
    Code,
}

/// Head of a column.
#[derive(Debug, Clone)]
pub struct Head {
    title: (String, String),
    unit: &'static str,
    look: Look,
}

impl Head {
    /// A column; the unit is empty where the cells are no numbers.
    pub fn new(title: Both, unit: &'static str, look: Look) -> Head {
        Head { title: (title.zh.to_owned(), title.en.to_owned()), unit, look }
    }
}

/// A page under way.
pub struct Page {
    html: String,
}

impl Page {
    /// A page with its title.
    pub fn new(title: Both, name: &str) -> Page {
        let mut page = Page { html: String::new() };
        let name = escape(name);
        let (zh, en) = (escape(title.zh), escape(title.en));
        let _ = write!(
            page.html,
            "<!DOCTYPE html>\n<html lang=\"zh-CN\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"/>\n<title>{name} · {zh} {en}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<h1><span lang=\"zh\">{zh}</span> · <span lang=\"en\">{en}</span></h1>\n\
             <p class=\"sub strong\">{name}</p>\n"
        );
        page
    }

    /// A new section.
    pub fn section(&mut self, title: Both) {
        self.heading("h2", title, &[]);
    }

    /// A heading within the section.
    pub fn part(&mut self, title: Both, values: &[&str]) {
        self.heading("h3", title, values);
    }

    fn heading(&mut self, tag: &str, title: Both, values: &[&str]) {
        let (zh, en) = (escape(&fill(title.zh, values)), escape(&fill(title.en, values)));
        let _ = writeln!(self.html, "<{tag}><span lang=\"zh\">{zh}</span> <span lang=\"en\">{en}</span></{tag}>");
    }

    /// A paragraph in each language.
    pub fn paragraph(&mut self, phrase: Both, values: &[&str]) {
        self.paragraphs("", phrase, values);
    }

    /// The same with weight.
    pub fn strong(&mut self, phrase: Both, values: &[&str]) {
        self.paragraphs(" class=\"strong\"", phrase, values);
    }

    fn paragraphs(&mut self, class: &str, phrase: Both, values: &[&str]) {
        for (lang, text) in [("zh", phrase.zh), ("en", phrase.en)] {
            let _ = writeln!(self.html, "<p lang=\"{lang}\"{class}>{}</p>", escape(&fill(text, values)));
        }
    }

    /// Opens a box that stands out; `bad` for what must not be overlooked.
    pub fn open_box(&mut self, bad: bool) {
        let _ = writeln!(self.html, "<div class=\"box{}\">", if bad { " bad" } else { "" });
    }

    /// Closes it.
    pub fn close_box(&mut self) {
        self.html.push_str("</div>\n");
    }

    /// A text alone, such as a digest.
    pub fn code(&mut self, text: &str) {
        let _ = writeln!(self.html, "<p class=\"c\">{}</p>", escape(text));
    }

    /// Names and what they are.
    pub fn facts(&mut self, facts: &[(Both, String)]) {
        self.html.push_str("<dl>\n");
        for (name, value) in facts {
            let _ = writeln!(self.html, "<dt>{}</dt><dd>{}</dd>", escape(&name.joined()), escape(value));
        }
        self.html.push_str("</dl>\n");
    }

    /// A list of texts that stand as they are.
    pub fn list<'a>(&mut self, items: impl Iterator<Item = &'a str>) {
        self.html.push_str("<ul>\n");
        for item in items {
            let _ = writeln!(self.html, "<li>{}</li>", escape(item));
        }
        self.html.push_str("</ul>\n");
    }

    /// A list in both languages.
    pub fn bilingual_list(&mut self, items: impl Iterator<Item = Both>) {
        self.html.push_str("<ul>\n");
        for item in items {
            let (zh, en) = (escape(item.zh), escape(item.en));
            let _ = writeln!(self.html, "<li><span lang=\"zh\">{zh}</span> <span lang=\"en\">{en}</span></li>");
        }
        self.html.push_str("</ul>\n");
    }

    /// A table. A column in which no row has a value is left out; another missing value is a dash.
    pub fn table(&mut self, heads: &[Head], rows: &[Vec<Option<String>>]) {
        let shown = |i: usize| rows.is_empty() || rows.iter().any(|r| r.get(i).is_some_and(Option::is_some));
        let class = |look: Look| match look {
            Look::Words => "w",
            Look::Short => "s",
            Look::Key => "k",
            Look::Number => "n",
            Look::Code => "c",
        };
        self.html.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
        for (_, head) in heads.iter().enumerate().filter(|(i, _)| shown(*i)) {
            let (zh, en) = (escape(&head.title.0), escape(&head.title.1));
            let class = if head.look == Look::Number { " class=\"n\"" } else { "" };
            let _ = write!(self.html, "<th{class}><span lang=\"zh\">{zh}</span>");
            if zh != en {
                let _ = write!(self.html, "<span lang=\"en\">{en}</span>");
            }
            if !head.unit.is_empty() {
                let _ = write!(self.html, "<span class=\"u\">{}</span>", escape(head.unit));
            }
            self.html.push_str("</th>");
        }
        self.html.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.html.push_str("<tr>");
            for (i, (head, cell)) in heads.iter().zip(row).enumerate() {
                if shown(i) {
                    let text = cell.as_deref().map_or("–".to_owned(), escape);
                    let _ = write!(self.html, "<td class=\"{}\">{text}</td>", class(head.look));
                }
            }
            self.html.push_str("</tr>\n");
        }
        self.html.push_str("</tbody></table></div>\n");
    }

    /// A picture with its legend and caption. `svg` and `legend` are markup already.
    pub fn figure(&mut self, svg: &str, legend: &str, caption: Both, values: &[&str]) {
        let _ = writeln!(self.html, "<figure>\n<div class=\"scroll\">{svg}</div>\n{legend}\n<figcaption>");
        self.paragraph(caption, values);
        self.html.push_str("</figcaption>\n</figure>\n");
    }

    /// The whole page, with its last line.
    pub fn finish(mut self, last: &str) -> String {
        let _ = write!(self.html, "<footer>{}</footer>\n</body>\n</html>\n", escape(last));
        self.html
    }
}
