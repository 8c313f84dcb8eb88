//! The model card: `README.md` in Hugging Face's format. Owns its order and words.
//!
//! The head is theirs (`model-index`, so that the Hub shows the metrics), the sections are those of their
//! template, in its order. What nobody has said is `[More Information Needed]`, as there; sections that
//! are optional there and empty are left out.

mod details;
mod head;
mod markdown;
mod results;
mod yaml;

use self::markdown::{Document, code, text};
use crate::Report;

/// What stands where nobody has said anything.
const NEEDED: &str = "[More Information Needed]";

impl Report {
    /// The model card.
    pub fn to_model_card(&self) -> String {
        let mut card = Document::new(head::head(self));
        let identity = &self.identity;
        card.heading(1, &format!("Model Card for {}", text(&name(self))));
        let target = identity
            .target
            .as_ref()
            .map_or_else(String::new, |target| format!(" that predicts {}", code(target)));
        card.paragraph(&format!(
            "A Phalanx model ({}){target}, made by job {}.",
            code(&identity.architecture),
            code(identity.job.as_str())
        ));
        details::model(&mut card, self);
        details::uses(&mut card, self);
        results::risks(&mut card, self);
        details::getting_started(&mut card, self);
        details::training(&mut card, self);
        results::evaluation(&mut card, self);
        results::examination(&mut card, self);
        details::technical(&mut card, self);
        details::people(&mut card, self);
        format!("{}\n", card.into_text().trim_end())
    }
}

/// The model's name and version.
fn name(report: &Report) -> String {
    match report.identity.version {
        Some(version) => format!("{} (version {version})", report.identity.model),
        None => report.identity.model.clone(),
    }
}
