//! The table that is printed.

use crate::{
    figures::{Arrivals, Row},
    user::User,
};

/// How long directives took to arrive, by their cause.
pub(crate) fn rows(arrivals: &Arrivals, user: &mut User) -> Vec<Row> {
    let from_users = user.latencies(arrivals);
    let lost = user.losses(arrivals);
    let regrouped = user.regroupings(arrivals);
    let [submitted, prepared, cancelled, broken] = from_users;
    let all = [&submitted, &prepared, &cancelled, &lost, &regrouped];
    let all = all.into_iter().flatten().copied().collect();
    vec![
        Row::new("a job is submitted → Prepare at its first rank", submitted),
        Row::new("a data set is reported → Train at each rank", prepared),
        Row::new("a job is cancelled → Stop at each rank", cancelled),
        Row::new("lost by its lease, as the job's log has it → Release", lost),
        Row::new("the next generation starts, as the log has it → Train", regrouped),
        Row::new("all of these", all),
        Row::new("a connection breaks → the next Train at each survivor", broken),
    ]
}
