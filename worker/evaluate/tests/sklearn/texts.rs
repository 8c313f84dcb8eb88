//! Cases of language.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    NextBytes, Predictions, evaluate,
    metrics::translation::{Bleu, ChrF, ErrorRate, Rouge, words},
};
use rand::{RngExt, rngs::StdRng};
use serde_json::json;

use crate::{Case, Figures, figures, parts};

const WORDS: [&str; 9] = ["the", "a", "cat", "sat", "Mat", "on", "it's", "naïve", "."];

pub(crate) fn next_bytes(rng: &mut StdRng, rows: usize) -> anyhow::Result<Case> {
    let truths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..256)).collect();
    let probabilities: Vec<Vec<f64>> = truths
        .iter()
        .map(|_| {
            let powers: Vec<f64> = (0..256).map(|_| rng.random_range(-4.0..4.0_f64).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|power| power / sum).collect()
        })
        .collect();
    let loss_nats = truths.iter().zip(&probabilities).map(|(truth, row)| -row[*truth].ln()).collect();
    let json = json!({ "kind": "next_bytes", "probabilities": probabilities, "truths": truths });
    let evaluation = evaluate(&Predictions::NextBytes(NextBytes { loss_nats, bytes: vec![1; rows] }))?;
    let figures = figures(evaluation);
    Ok(Case { json, merged: figures.clone(), figures, lists: BTreeMap::new() })
}

pub(crate) fn texts(rng: &mut StdRng, rows: usize) -> anyhow::Result<Case> {
    let known = rng.random_range(2..=WORDS.len());
    let sentence = |rng: &mut StdRng, least: usize| {
        let length = rng.random_range(least..12);
        (0..length).map(|_| WORDS[rng.random_range(0..known)]).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..rows).map(|_| sentence(rng, 0)).collect();
    let references: Vec<Vec<String>> = texts
        .iter()
        .map(|text| {
            let count = rng.random_range(1..4);
            let equal = rng.random_range(0..4) == 0 && !text.is_empty();
            (0..count).map(|_| if equal { text.clone() } else { sentence(rng, 1) }).collect()
        })
        .collect();
    let all: Vec<usize> = (0..rows).collect();
    let whole = Texts::of(&texts, &references, &all);
    let mut merged = Texts::default();
    for part in parts(rng, rows) {
        merged.merge(&Texts::of(&texts, &references, &part));
    }
    let json = json!({ "kind": "texts", "texts": texts, "references": references });
    Ok(Case { json, figures: whole.figures()?, merged: merged.figures()?, lists: BTreeMap::new() })
}

#[derive(Default)]
struct Texts {
    bleu: Bleu,
    chrf: ChrF,
    rouge: Rouge,
    words: ErrorRate,
    letters: ErrorRate,
}

impl Texts {
    fn of(texts: &[String], references: &[Vec<String>], rows: &[usize]) -> Self {
        let mut measured = Self::default();
        for row in rows {
            let (text, references) = (&texts[*row], &references[*row]);
            let tokens = |text: &'_ str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let borrowed: Vec<Vec<&str>> =
                references.iter().map(|reference| reference.split_whitespace().collect()).collect();
            let slices: Vec<&[&str]> = borrowed.iter().map(Vec::as_slice).collect();
            measured.bleu.update(&text.split_whitespace().collect::<Vec<_>>(), &slices);
            measured.chrf.update(text, &references.iter().map(String::as_str).collect::<Vec<_>>());
            measured.rouge.update(&words(text), &words(&references[0]));
            measured.words.update(&tokens(text), &tokens(&references[0]));
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            measured.letters.update(&letters(text), &letters(&references[0]));
        }
        measured
    }

    fn merge(&mut self, other: &Self) {
        self.bleu.merge(&other.bleu);
        self.chrf.merge(&other.chrf);
        self.rouge.merge(&other.rouge);
        self.words.merge(&other.words);
        self.letters.merge(&other.letters);
    }

    fn figures(&self) -> anyhow::Result<Figures> {
        let mut figures = Figures::from([
            ("bleu".to_owned(), Some(self.bleu.finish())),
            ("chrf".to_owned(), Some(self.chrf.finish())),
            ("wer".to_owned(), self.words.finish().ok()),
            ("cer".to_owned(), self.letters.finish().ok()),
        ]);
        for (kind, score) in ["rouge1", "rouge2", "rougeL"].into_iter().zip(self.rouge.finish()?) {
            figures.insert(format!("{kind}_precision"), Some(score.precision));
            figures.insert(format!("{kind}_recall"), Some(score.recall));
            figures.insert(format!("{kind}_f1"), Some(score.f1));
        }
        Ok(figures)
    }
}
