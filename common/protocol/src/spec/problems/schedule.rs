//! Rules of `[schedule]`.

use super::{Rules, Sections, not_a_name};
use crate::{
    id::{NAME_CHARS_MAX, is_name},
    spec::{PRIORITIES, SchedulingSpec},
};

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let Some(SchedulingSpec { priority, project }) = sections.schedule else { return };
    let (path, low, high) = ("schedule.priority", PRIORITIES.start(), PRIORITIES.end());
    rules.require(PRIORITIES.contains(priority), [path], || {
        format!("`{path}` must be from {low} to {high}, got {priority}")
    });
    let path = "schedule.project";
    rules.require(is_name(project), [path], || not_a_name(path, project, NAME_CHARS_MAX));
}
