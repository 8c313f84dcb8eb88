//! Rules of `[data]`.

use super::{Rules, Sections, clean, encode, source, split};
use crate::spec::DataSpec;

/// The most channels, and the most pixels on a side, of an image.
const IMAGE_SIDE_MAX: u64 = 4_096;

/// The most numbers in one image.
const IMAGE_VALUES_MAX: usize = 1 << 24;

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let Some(data) = sections.data else { return };
    source::check(data, rules);
    clean::check(data, rules);
    columns(data, rules);
    encode::check(data, rules);
    split::check(sections, data, rules);
}

fn image(shape: [usize; 3], rules: &mut Rules) {
    let sides = shape.iter().all(|&side| (1..=IMAGE_SIDE_MAX).contains(&(side as u64)));
    let values = shape.iter().try_fold(1_usize, |all, &side| all.checked_mul(side));
    let holds = sides && values.is_some_and(|values| values <= IMAGE_VALUES_MAX);
    rules.require(holds, ["data.shape"], || {
        format!(
            "`data.shape` must be [channels, height, width], each from 1 to {IMAGE_SIDE_MAX} and at most \
             {IMAGE_VALUES_MAX} values in all, got {shape:?}"
        )
    });
}

/// What the columns of a table are for.
fn columns(data: &DataSpec, rules: &mut Rules) {
    match data.source() {
        Some(source) if source.is_text() => return no_columns(data, rules),
        Some(_) => {
            let named = data.target().is_some_and(|target| !target.is_empty());
            rules.require(named, ["data.target"], || {
                "`data.target` must name the column to predict".to_owned()
            });
        }
        None => {}
    }
    if let Some(shape) = data.shape {
        image(shape, rules);
    }
    let is_target = |column: &String| Some(column) == data.target.as_ref();
    let target = data.target.as_deref().unwrap_or_default();
    if let Some(features) = &data.features {
        rules.require(!features.is_empty(), ["data.features"], || {
            "`data.features` must name a column, got none: leave it out to train on all but the target"
                .to_owned()
        });
        rules.require(!features.iter().any(is_target), ["data.features", "data.target"], || {
            format!("`data.features` must not hold the target \"{target}\"")
        });
        both(["data.ignore", "data.features"], [&data.ignore, features], rules);
        let strange = data.categorical.iter().find(|column| !features.contains(column) && !is_target(column));
        if let Some(column) = strange {
            rules.require(false, ["data.categorical", "data.features"], || {
                format!(
                    "`data.categorical` names the column \"{column}\", which is not among `data.features`"
                )
            });
        }
    }
    rules.require(!data.ignore.iter().any(is_target), ["data.ignore", "data.target"], || {
        format!("`data.ignore` must not hold the target \"{target}\"")
    });
    both(["data.categorical", "data.ignore"], [&data.categorical, &data.ignore], rules);
}

/// A text is bytes: nothing can be said of its columns.
fn no_columns(data: &DataSpec, rules: &mut Rules) {
    let given = [
        ("data.target", data.target.is_some()),
        ("data.objective", data.objective.is_some()),
        ("data.features", data.features.is_some()),
        ("data.ignore", !data.ignore.is_empty()),
        ("data.categorical", !data.categorical.is_empty()),
        ("data.shape", data.shape.is_some()),
        ("data.clean", !data.clean.is_empty()),
        ("data.expect", !data.expect.is_empty()),
        ("data.encode.columns", !data.encode.columns.is_empty()),
        ("data.encode.order", !data.encode.order.is_empty()),
    ];
    for (setting, is_given) in given {
        rules.require(!is_given, [setting, "data.text"], || {
            format!("`{setting}` is about columns, and a text has none: take it out")
        });
    }
}

/// No column is in both of two lists.
fn both(settings: [&str; 2], [one, other]: [&[String]; 2], rules: &mut Rules) {
    if let Some(column) = one.iter().find(|column| other.contains(column)) {
        rules.require(false, settings, || {
            format!("the column \"{column}\" is both in `{}` and in `{}`: keep one", settings[0], settings[1])
        });
    }
}
