//! A worker's patience with the object store: the coordinator hears that it is away and that it is
//! back, and so does whoever looks at the worker's metrics.

use phalanx_protocol::message::Event;
use phalanx_storage::{Outage, Patience, Store};
use tracing::{info, warn};

use crate::{metrics, outbox::Reports};

/// Waits for the store and tells the coordinator.
pub(crate) type StorePatience = Patience<Box<dyn FnMut(Outage) + Send>>;

/// Waits for `store`, and tells of it in `reports`.
pub(crate) fn with_store(store: &Store, reports: &Reports) -> StorePatience {
    let reports = reports.clone();
    let mut began = None;
    let tell = move |outage| match outage {
        Outage::Away(away) => {
            let lasting = away.since.elapsed();
            warn!(?lasting, why = away.why, "the object store is away");
            metrics::store_away();
            began = Some(away.since);
            reports.tell(Event::StoreAway { lasting, why: away.why });
        }
        Outage::Over => {
            let lasted = began.take().map(|began| began.elapsed()).unwrap_or_default();
            info!(?lasted, "the object store is back");
            metrics::store_back(lasted);
            reports.tell(Event::StoreBack);
        }
    };
    Patience::new(store.clone(), Box::new(tell))
}
