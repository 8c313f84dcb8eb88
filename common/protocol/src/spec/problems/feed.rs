//! Rules of what `[train]` says of the way from the data set to the model.

use super::{Rules, Sections};
use crate::spec::AugmentSpec;

/// The most data shards in a window.
const WINDOW_MAX: u64 = 1_024;

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let Some(train) = sections.train else { return };
    rules.whole("train.shuffle_window", train.shuffle_window, 1..=WINDOW_MAX);
    let Some(AugmentSpec { flip, shift, crop }) = train.augment else { return };
    const AUGMENT: &str = "train.augment";
    rules.require(flip || shift > 0 || crop > 0, [AUGMENT], || {
        format!("`{AUGMENT}` changes nothing: set `flip`, `shift` or `crop`, or take it out")
    });
    rules.require(shift == 0 || crop == 0, [AUGMENT], || {
        format!("`{AUGMENT}` must have either `shift` or `crop`: both move the image")
    });
    let Some(data) = sections.data else { return };
    let Some([_, height, width]) = data.shape else {
        return rules.require(false, [AUGMENT, "data", "data.shape"], || {
            format!("`{AUGMENT}` changes images: set `data.shape`, or take it out")
        });
    };
    let (pixels, side) = (shift.max(crop), height.min(width));
    rules.require((pixels as usize) < side.max(1), [AUGMENT, "data.shape"], || {
        format!("`{AUGMENT}` must move by less than a side of an image: {pixels} of {side} pixels")
    });
}
