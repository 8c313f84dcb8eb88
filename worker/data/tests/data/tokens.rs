//! Texts as tokens, from a file to batches and back.

use phalanx_data::{FeatureKind, Features, Split, TargetKind, Targets, read_features};

use crate::support::{Bench, spec};

fn story() -> String {
    (0..2_000).map(|line| format!("On day {line} the größte cat sat on the mat.\n")).collect()
}

#[tokio::test]
async fn windows_of_tokens_give_the_text_back_split_by_split() {
    let bench = Bench::new();
    let text = story();
    let mut left = text.as_bytes();
    let settings = r#""context": 16, "encode": {"text": "bpe", "vocabulary": 300}"#;
    let data = spec("text", &bench.file("a.txt", &text), settings);
    let dataset = bench.open(&data).await;
    assert_eq!(dataset.schema().features, FeatureKind::Tokens { context: 16 });
    let TargetKind::NextToken { lengths } = &dataset.schema().target else { panic!("no tokens") };
    assert_eq!(lengths.len(), 300);
    let tokenizer = dataset.manifest().encoder.tokenizer().unwrap();
    for split in Split::ALL {
        let rows: Vec<u64> = (0..dataset.rows(split)).collect();
        let batch = dataset.gather(split, &rows).unwrap();
        let (Features::Tokens(tokens), Targets::Tokens(next)) = (&batch.features, &batch.targets) else {
            panic!("no tokens")
        };
        assert_eq!(tokens[1..], next[..next.len() - 1]);
        // A stretch ends where its last whole window does, maybe inside of a character.
        let part = tokenizer.decode(tokens);
        let start = left.windows(part.len()).position(|stretch| stretch == part);
        left = &left[start.unwrap() + part.len()..];
        assert!(split != Split::Train || start == Some(0));
    }
    // Prepared again elsewhere, the same tokens are learnt.
    let other = Bench::new();
    let again = spec("text", &other.file("b.txt", &text), settings);
    assert_eq!(other.open(&again).await.manifest().train, dataset.manifest().train);
}

#[tokio::test]
async fn a_new_text_is_read_to_its_last_token() {
    let bench = Bench::new();
    let settings = r#""context": 16, "encode": {"text": "bpe", "vocabulary": 300}"#;
    let dataset = bench.open(&spec("text", &bench.file("a.txt", story()), settings)).await;
    let encoder = &dataset.manifest().encoder;
    let new = "A cat sat on another mat. ".repeat(150);
    let mut tokens = Vec::new();
    for batch in read_features(encoder, &bench.file("new.txt", &new)).unwrap() {
        let batch = batch.unwrap();
        let (Features::Tokens(features), Targets::Tokens(next)) = (batch.features, batch.targets) else {
            panic!("no tokens")
        };
        assert_eq!(features.len(), next.len());
        tokens.extend(features);
    }
    let whole = encoder.tokenizer().unwrap().encode(&new);
    // The very last one is predicted only.
    assert_eq!(tokens, whole[..whole.len() - 1]);
}

#[tokio::test]
async fn tokens_need_characters() {
    let bench = Bench::new();
    let mut text = story().into_bytes();
    text[1_000] = 0xff;
    let data = spec("text", &bench.file("a.txt", text), r#""encode": {"text": "bpe"}"#);
    let error = bench.prepare(&data).await.unwrap_err().to_string();
    assert!(error.contains("expected UTF-8 for tokens, found other bytes at byte 1000"), "{error}");
}
