//! The page of a dataset version.

use phalanx_report::{Dataset, DatasetPage, Funnel, Histogram, Profile, ProfileOf, Source, SplitRows, Step};

use crate::traced;

fn page() -> DatasetPage {
    let profile = |name: &str, missing: u64, values: ProfileOf| Profile {
        name: name.to_owned(),
        data_type: "Int64".to_owned(),
        rows: 100,
        missing,
        distinct: 9,
        values,
    };
    let numbers = ProfileOf::Numbers {
        mean: 38.5,
        deviation: 13.25,
        percentiles: (0..=100).map(|percent| 17.0 + 0.73 * f64::from(percent)).collect(),
        histogram: Histogram { from: 17.0, width: 3.5, counts: vec![3, 40, 47, 8], below: 0, above: 0 },
    };
    let top = vec![("Private".to_owned(), 70), ("<script>alert(1)</script>".to_owned(), 12)];
    DatasetPage {
        dataset: Dataset {
            version: "3f2a91".to_owned(),
            name: "adult".to_owned(),
            sources: vec![Source {
                path: "adult.csv".to_owned(),
                bytes: 3_974_305,
                blake3: "c0ffee".to_owned(),
                rows: Some(112),
            }],
            splits: vec![SplitRows { split: "train".to_owned(), rows: 80 }],
            funnel: Some(Funnel {
                rows_read: 112,
                steps: vec![Step {
                    step: "drop_duplicates".to_owned(),
                    rows_before: 112,
                    rows_after: 100,
                    ..Step::default()
                }],
                rows_clean: 100,
                ..Funnel::default()
            }),
            code_version: "0.1.0".to_owned(),
            ..Dataset::default()
        },
        leakage: vec!["two rows are in two splits".to_owned()],
        profiles: vec![
            profile("age", 7, numbers),
            profile("workclass", 0, ProfileOf::Texts { top, other: 18 }),
            profile("photo", 0, ProfileOf::Other),
        ],
    }
}

#[test]
fn a_dataset_page_is_whole_and_its_figures_are_fields() -> anyhow::Result<()> {
    let page = page();
    let html = page.to_html();
    let figures = traced::check_page(&serde_json::to_value(&page)?, &html)?;
    assert!(figures > 30, "{figures}");
    assert!(html.contains("drop_duplicates") && html.contains("&lt;script&gt;"), "{html}");
    Ok(())
}

#[test]
fn a_dataset_without_anything_has_a_page() -> anyhow::Result<()> {
    traced::check_page(&serde_json::to_value(DatasetPage::default())?, &DatasetPage::default().to_html())?;
    Ok(())
}
