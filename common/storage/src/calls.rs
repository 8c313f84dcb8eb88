//! The calls to a folder that are under way. A disk that is dead, or a file system of another machine
//! that is gone, ends none of them and fails none of them: that nothing moves is all there is to see.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::outage::Away;

/// A disk on which a call has moved nothing for so long does not answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A call that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// Its number; a later call has a greater one.
    pub number: u64,
    /// How often something has moved: a piece was read or written.
    pub moves: u64,
}

/// All calls that are under way.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    begun: u64,
    /// By their numbers, with the number of moves and the time of the last one.
    under_way: BTreeMap<u64, (u64, Instant)>,
}

/// One call, until it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    calls: Arc<Calls>,
    number: u64,
}

impl Calls {
    /// Begins a call.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let mut table = self.table();
        table.begun += 1;
        let number = table.begun;
        table.under_way.insert(number, (0, Instant::now()));
        Call { calls: Arc::clone(self), number }
    }

    /// The call that has begun before all others.
    pub(crate) fn oldest(&self) -> Option<UnderWay> {
        self.table()
            .under_way
            .first_key_value()
            .map(|(number, (moves, _))| UnderWay { number: *number, moves: *moves })
    }

    /// Since when the disk does not answer, if it does not.
    pub(crate) fn silence(&self) -> Option<Away> {
        let since = self.table().under_way.values().map(|(_, last)| *last).min()?;
        let why = || format!("its disk has not answered for {} s", since.elapsed().as_secs());
        (since.elapsed() >= SILENCE_MAX).then(|| Away { since, why: why() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic between two lines leaves a table all the same.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Something has moved.
    pub(crate) fn moves(&self) {
        if let Some((moves, last)) = self.calls.table().under_way.get_mut(&self.number) {
            *moves += 1;
            *last = Instant::now();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.table().under_way.remove(&self.number);
    }
}

/// A reader each of whose reads is a move of its call.
pub(crate) struct Moving<'a, R>(pub(crate) R, pub(crate) &'a Call);

impl<R: Read> Read for Moving<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.moves();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_is_seen_until_it_ends() {
        let calls = Arc::new(Calls::default());
        assert_eq!(calls.oldest(), None);
        let (first, second) = (calls.begin(), calls.begin());
        second.moves();
        assert_eq!(calls.oldest(), Some(UnderWay { number: 1, moves: 0 }));
        first.moves();
        assert_eq!(calls.oldest(), Some(UnderWay { number: 1, moves: 1 }));
        drop(first);
        assert_eq!(calls.oldest(), Some(UnderWay { number: 2, moves: 1 }));
        assert_eq!(calls.silence(), None, "it has just moved");
    }

    #[test]
    fn each_read_is_a_move() {
        let calls = Arc::new(Calls::default());
        let call = calls.begin();
        let mut read = Vec::new();
        Moving(&b"abc"[..], &call).read_to_end(&mut read).expect("memory can be read");
        assert_eq!(read, b"abc");
        assert!(calls.oldest().is_some_and(|oldest| oldest.moves > 0));
    }
}
