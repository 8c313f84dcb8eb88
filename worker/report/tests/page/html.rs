//! Reads the pages that are written here, and refuses what is not well-formed. No parser of HTML at
//! large: tags are lower case, attributes quoted, and text escaped.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

/// Elements without content.
const VOID: &[&str] = &["meta", "br", "hr", "img", "input", "link"];

/// Every element that a page may have: what comes from outside adds none.
const KNOWN: &[&str] = &[
    "a",
    "b",
    "body",
    "circle",
    "code",
    "data",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "g",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "li",
    "line",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
    "polyline",
    "pre",
    "rect",
    "section",
    "span",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "time",
    "title",
    "tr",
    "ul",
];

/// A run of text, and the elements that it stands in, the outermost first.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) within: Vec<Element>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub(crate) fn has_class(&self, class: &str) -> bool {
        self.attribute("class").is_some_and(|classes| classes.split(' ').any(|found| found == class))
    }
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) texts: Vec<Text>,
    pub(crate) elements: Vec<Element>,
}

impl Page {
    pub(crate) fn read(html: &str) -> anyhow::Result<Self> {
        let mut page = Self::default();
        let mut open: Vec<Element> = Vec::new();
        let mut rest = html.strip_prefix("<!DOCTYPE html>").context("no doctype")?;
        while let Some(begin) = rest.find('<') {
            page.text(&rest[..begin], &open)?;
            let end = rest[begin..].find('>').context("a tag without an end")? + begin;
            let tag = &rest[begin + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                let closed = open.pop().with_context(|| format!("</{name}> closes nothing"))?;
                ensure!(closed.name == name, "</{name}> closes <{}>", closed.name);
                continue;
            }
            let element = element(tag)?;
            page.elements.push(element.clone());
            if !VOID.contains(&element.name.as_str()) {
                open.push(element);
            }
        }
        ensure!(rest.trim().is_empty() && open.is_empty(), "{open:?} is not closed");
        Ok(page)
    }

    fn text(&mut self, text: &str, open: &[Element]) -> anyhow::Result<()> {
        if !text.is_empty() {
            let text = unescaped(text)?;
            self.texts.push(Text { text, within: open.to_vec() });
        }
        Ok(())
    }
}

fn element(tag: &str) -> anyhow::Result<Element> {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    ensure!(KNOWN.contains(&name), "an element that no page has: <{tag}>");
    let mut attributes = BTreeMap::new();
    while !rest.is_empty() {
        let (key, value) =
            rest.split_once("=\"").with_context(|| format!("an attribute without a value: {rest}"))?;
        ensure!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "an attribute called `{key}`");
        ensure!(!key.starts_with("on") && key != "src", "an attribute that runs or loads: `{key}`");
        let (value, after) = value.split_once('"').context("a value without an end")?;
        ensure!(attributes.insert(key.to_owned(), unescaped(value)?).is_none(), "{key} twice");
        rest = after.trim_start();
    }
    let element = Element { name: name.to_owned(), attributes };
    let link = element.attribute("href");
    ensure!(link.is_none_or(|link| link.starts_with('#')), "a link to elsewhere: {link:?}");
    Ok(element)
}

fn unescaped(text: &str) -> anyhow::Result<String> {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('&');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let Some((name, rest)) = part.split_once(';') else { bail!("`&{part}` is not escaped") };
        plain.push_str(match name {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            _ => bail!("`&{name};` is nothing that is written here"),
        });
        plain.push_str(rest);
    }
    Ok(plain)
}
