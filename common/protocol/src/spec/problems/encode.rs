//! Rules of `[data.encode]`.

use std::collections::BTreeSet;

use super::Rules;
use crate::spec::{ColumnEncoding, DataSpec, EncodeSpec, SourceSpec, TextEncoding};

/// The most numbers that a hashed column becomes.
const BUCKETS_MAX: u64 = 65_536;

/// The most quantiles that are kept of a column.
const QUANTILES_MAX: u64 = 10_000;

/// The fewest and the most tokens. A token is stored in two bytes.
const VOCABULARY: std::ops::RangeInclusive<u64> = 257..=65_536;

pub(super) fn check(data: &DataSpec, rules: &mut Rules) {
    let encode = &data.encode;
    rules.whole("data.encode.buckets", encode.buckets, 2..=BUCKETS_MAX);
    rules.whole("data.encode.quantiles", encode.quantiles, 2..=QUANTILES_MAX);
    rules.whole("data.encode.vocabulary", encode.vocabulary, VOCABULARY);
    let parts: BTreeSet<_> = encode.dates.iter().collect();
    let holds = !encode.dates.is_empty() && parts.len() == encode.dates.len();
    rules.require(holds, ["data.encode.dates"], || {
        "`data.encode.dates` must name at least one part of a date, and none twice".to_owned()
    });
    let is_text = matches!(data.source(), Some(SourceSpec::Text(_)) | None);
    rules.require(encode.text == TextEncoding::Bytes || is_text, ["data.encode.text", "data"], || {
        "`data.encode.text` is about texts: give it `[data.text]`, or take it out".to_owned()
    });
    columns(data, rules);
    order(encode, rules);
}

/// Columns that are encoded in a way of their own are features, and of one kind.
fn columns(data: &DataSpec, rules: &mut Rules) {
    const COLUMNS: &str = "data.encode.columns";
    for (column, encoding) in &data.encode.columns {
        rules.require(Some(column) != data.target.as_ref(), [COLUMNS, "data.target"], || {
            format!("`{COLUMNS}` names the target \"{column}\", which is not encoded")
        });
        rules.require(!data.ignore.contains(column), [COLUMNS, "data.ignore"], || {
            format!("the column \"{column}\" is both in `{COLUMNS}` and in `data.ignore`: keep one")
        });
        let is_feature = data.features.as_ref().is_none_or(|features| features.contains(column));
        rules.require(is_feature, [COLUMNS, "data.features"], || {
            format!("`{COLUMNS}` names the column \"{column}\", which is not among `data.features`")
        });
        let fits = encoding.of_numbers().is_none() || !data.categorical.contains(column);
        rules.require(fits, [COLUMNS, "data.categorical"], || {
            format!("`{COLUMNS}` encodes \"{column}\" as a number, but `data.categorical` names it: keep one")
        });
    }
}

fn order(encode: &EncodeSpec, rules: &mut Rules) {
    const ORDER: &str = "data.encode.order";
    for (column, categories) in &encode.order {
        let encoding = encode.columns.get(column).copied().unwrap_or(encode.categories.into());
        rules.require(encoding == ColumnEncoding::Ordinal, [ORDER, "data.encode.columns"], || {
            format!("`{ORDER}` names the column \"{column}\", which is not encoded as `ordinal`")
        });
        let different: BTreeSet<_> = categories.iter().collect();
        let holds = !categories.is_empty() && different.len() == categories.len();
        rules.require(holds, [ORDER], || {
            format!("`{ORDER}` must name at least one category of \"{column}\", and none twice")
        });
    }
}
