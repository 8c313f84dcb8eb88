//! The state store in etcd, as its leader writes it.
//!
//! etcd takes 1.5 MiB and 128 operations at a time, and a commit may be larger. So values
//! are cut into pieces, and a commit that does not fit into one transaction is first
//! written beside the records (`staged`). The transaction that says so in `head` is the
//! commit; then its pieces are copied to their places. Whoever finds such a head when it takes over
//! copies them again before it does anything else. What was staged without a head that
//! says so was never committed, and is deleted.
//!
//! `cluster` has the keys, and why no other leader writes here.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, KeyValue, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    election::SEAT,
    etcd::{Etcd, keys},
};
use crate::{
    seat::Term,
    state::{FORMAT, Put, Revision, Snapshot, StateError, StateStore},
};

/// The most bytes of a piece of a value.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// The most pieces of a value: their numbers have four digits.
const PIECES_MAX: usize = 10_000;

/// The most bytes and changes in one transaction, with room for the rest of it.
const TRANSACTION_BYTES_MAX: usize = 1 << 20;
const TRANSACTION_CHANGES_MAX: usize = 96;

/// The most pieces that are read at a time.
const PAGE_PIECES: i64 = 64;

const FORMAT_KEY: &str = "format";
const HEAD: &str = "head";
const RECORDS: &str = "record/";
const STAGED: &str = "staged/";

/// Stands between a record's key and the number of a piece.
const BEFORE_PIECE: char = '#';

/// A state store in etcd, written by the leader with this token.
#[derive(Debug)]
pub(crate) struct EtcdState {
    etcd: Arc<Etcd>,
    token: i64,
    term: Term,
    known: Mutex<Known>,
}

/// What is known of the store without asking.
#[derive(Debug)]
struct Known {
    head: Head,
    /// How many pieces each record has.
    pieces: BTreeMap<String, usize>,
}

/// The newest revision of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    revision: u64,
    /// The token of the leader that made it.
    token: i64,
    /// Whether some of it lies in `staged` still.
    staged: bool,
}

/// A record's value, in pieces.
type Pieces = BTreeMap<String, Vec<Vec<u8>>>;

/// One change of one key.
#[derive(Debug)]
enum Change {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
}

/// Refuses a store of another format; one that is empty is fine.
pub(super) async fn check_format(etcd: &Etcd) -> Result<(), StateError> {
    let key = etcd.key(FORMAT_KEY);
    let found = etcd.call(|client| async move { keys(&client).get(key, None).await }).await?;
    let Some(found) = found.kvs().first() else { return Ok(()) };
    match found.value_str().ok().and_then(|text| text.parse().ok()) {
        Some(FORMAT) => Ok(()),
        Some(actual) => Err(StateError::Format { place: etcd.url(), actual }),
        None => Err(etcd.damaged("its format is no number: is this the prefix of something else?")),
    }
}

impl EtcdState {
    /// The store for the leader with `token`, who may write until `term` is over.
    pub(super) async fn open(etcd: Arc<Etcd>, token: i64, term: Term) -> Result<Self, StateError> {
        let head = Head { revision: 0, token, staged: false };
        let known = Mutex::new(Known { head: head.clone(), pieces: BTreeMap::new() });
        let store = Self { etcd, token, term, known };
        let new = Compare::create_revision(store.etcd.key(FORMAT_KEY), CompareOp::Equal, 0);
        let format = TxnOp::put(store.etcd.key(FORMAT_KEY), FORMAT.to_string(), None);
        let prepared = async {
            match store.transact(new, vec![format, store.put_head(&head)]).await? {
                Ok(()) => Ok(()),
                Err(_) => check_format(&store.etcd).await,
            }
        };
        store.within_term(prepared).await?;
        Ok(store)
    }

    /// What comes of `work`, if that is before the term is over.
    async fn within_term<T>(
        &self,
        work: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, StateError> {
        tokio::select! {
            biased;
            () = self.term.over() => Err(StateError::TermOver),
            done = work => done,
        }
    }

    /// One transaction, applied only while this leader is the leader, and where `also` holds.
    /// Returns the head that it found instead. May be sent twice.
    async fn transact(
        &self,
        also: Compare,
        changes: Vec<TxnOp>,
    ) -> Result<Result<(), Option<Head>>, StateError> {
        let (seat, head) = (self.etcd.key(SEAT), self.etcd.key(HEAD));
        let mine = Compare::create_revision(seat.as_str(), CompareOp::Equal, self.token);
        let compares: Vec<Compare> = [mine].into_iter().chain([also]).collect();
        let look = [TxnOp::get(seat, None), TxnOp::get(head, None)];
        let transaction = Txn::new().when(compares).and_then(changes).or_else(look);
        let answer = self.etcd.insist(|client| {
            let transaction = transaction.clone();
            async move { keys(&client).txn(transaction).await }
        });
        let answer = answer.await?;
        if answer.succeeded() {
            return Ok(Ok(()));
        }
        let mut found = answer.op_responses().into_iter().map(|op| match op {
            TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
            _ => None,
        });
        let (seat, head) = (found.next().flatten(), found.next().flatten());
        if seat.is_none_or(|seat| seat.create_revision() != self.token) {
            return Err(StateError::TermOver);
        }
        head.map(|head| self.read_head(&head)).transpose().map(Err)
    }

    /// Changes keys while the head stays what it is. May be sent twice, and the second time arrive
    /// late: it finds another head then.
    async fn write(&self, head: &Head, changes: Vec<TxnOp>) -> Result<(), StateError> {
        let applied = self.transact(self.head_is(head), changes).await?;
        applied.map_err(|found| self.conflict(head.revision, found))
    }

    /// Replaces the head, and changes other keys with it.
    async fn swap(&self, current: &Head, next: &Head, mut changes: Vec<TxnOp>) -> Result<(), StateError> {
        changes.push(self.put_head(next));
        match self.transact(self.head_is(current), changes).await? {
            // The answer to this very transaction was lost, and it was sent again.
            Err(Some(found)) if found == *next => Ok(()),
            Err(found) => Err(self.conflict(current.revision, found)),
            Ok(()) => Ok(()),
        }
    }

    fn head_is(&self, head: &Head) -> Compare {
        Compare::value(self.etcd.key(HEAD), CompareOp::Equal, head.encode())
    }

    fn conflict(&self, expected: u64, found: Option<Head>) -> StateError {
        let actual = found.map_or(0, |head| head.revision);
        StateError::Conflict {
            place: self.etcd.url(),
            expected: Revision::new(expected),
            actual: Revision::new(actual),
        }
    }

    /// Applies changes of any size, in one transaction or by way of `staged`.
    async fn apply(&self, current: &Head, changes: Vec<Change>) -> Result<Head, StateError> {
        let next = Head { revision: current.revision + 1, token: self.token, staged: false };
        let groups = groups(&changes);
        if groups.len() <= 1 {
            self.swap(current, &next, self.operations(&changes)).await?;
            return Ok(next);
        }
        let staged = Head { staged: true, ..next.clone() };
        for group in &groups {
            let beside: Vec<Change> = group.iter().filter_map(|change| change.beside(&staged)).collect();
            self.write(current, self.operations(&beside)).await?;
        }
        self.swap(current, &staged, Vec::new()).await?;
        self.settle(&staged, next, &groups).await
    }

    /// Puts what is staged, and committed, to its place.
    async fn settle(&self, staged: &Head, next: Head, groups: &[&[Change]]) -> Result<Head, StateError> {
        for group in groups {
            self.write(staged, self.operations(group)).await?;
        }
        self.swap(staged, &next, vec![self.clear_staged()]).await?;
        Ok(next)
    }

    /// Reads everything, and finishes what the leader before has left unfinished.
    async fn read_all(&self) -> Result<(Known, Pieces), StateError> {
        let key = self.etcd.key(HEAD);
        let found = self.etcd.insist(|client| {
            let key = key.clone();
            async move { keys(&client).get(key, None).await }
        });
        let found = found.await?;
        let head = found.kvs().first().ok_or_else(|| self.etcd.damaged("it has a format but no head"))?;
        let head = self.read_head(head)?;
        let mut pieces = self.read_pieces(RECORDS).await?;
        let head = if head.staged {
            let staged = self.read_pieces(&head.staged_under()).await?;
            let mut changes = Vec::new();
            for (key, value) in &staged {
                replace(key, value.clone(), pieces.get(key).map_or(0, Vec::len), &mut changes);
            }
            pieces.extend(staged);
            let next = Head { token: self.token, staged: false, ..head.clone() };
            self.settle(&head, next, &groups(&changes)).await?
        } else {
            self.write(&head, vec![self.clear_staged()]).await?;
            head
        };
        let known =
            Known { head, pieces: pieces.iter().map(|(key, value)| (key.clone(), value.len())).collect() };
        Ok((known, pieces))
    }

    /// All values below `folder`. Nobody else writes meanwhile, so its pages fit together.
    async fn read_pieces(&self, folder: &str) -> Result<Pieces, StateError> {
        let folder = self.etcd.key(folder);
        // `0` is the character after `/`.
        let end = format!("{}0", folder.strip_suffix('/').unwrap_or(&folder));
        let (mut begin, mut found) = (folder.clone().into_bytes(), Pieces::new());
        loop {
            let page = self.etcd.insist(|client| {
                let options = GetOptions::new()
                    .with_range(end.as_str())
                    .with_sort(SortTarget::Key, SortOrder::Ascend)
                    .with_limit(PAGE_PIECES);
                let begin = begin.clone();
                async move { keys(&client).get(begin, Some(options)).await }
            });
            let page = page.await?;
            for piece in page.kvs() {
                self.take_piece(&folder, piece, &mut found)?;
            }
            match page.kvs().last() {
                Some(last) if page.more() => begin = [last.key(), &[0]].concat(),
                Some(_) | None => return Ok(found),
            }
        }
    }

    fn take_piece(&self, folder: &str, piece: &KeyValue, found: &mut Pieces) -> Result<(), StateError> {
        let damaged = || {
            let key = String::from_utf8_lossy(piece.key());
            self.etcd.damaged(format!("the key {key} is not one of ours, or comes without the one before it"))
        };
        let name = piece.key_str().ok().and_then(|key| key.strip_prefix(folder)).ok_or_else(damaged)?;
        let (key, number) = name.rsplit_once(BEFORE_PIECE).ok_or_else(damaged)?;
        let value = found.entry(key.to_owned()).or_default();
        if number.parse() != Ok(value.len()) {
            return Err(damaged());
        }
        value.push(piece.value().to_vec());
        Ok(())
    }

    fn read_head(&self, found: &KeyValue) -> Result<Head, StateError> {
        let head = serde_json::from_slice(found.value());
        head.map_err(|error| self.etcd.damaged(format!("its head cannot be read: {error}")))
    }

    fn put_head(&self, head: &Head) -> TxnOp {
        TxnOp::put(self.etcd.key(HEAD), head.encode(), None)
    }

    fn clear_staged(&self) -> TxnOp {
        TxnOp::delete(self.etcd.key(STAGED), Some(DeleteOptions::new().with_prefix()))
    }

    fn operations(&self, changes: &[Change]) -> Vec<TxnOp> {
        let operation = |change: &Change| match change {
            Change::Put { key, value } => TxnOp::put(self.etcd.key(key), value.as_slice(), None),
            Change::Delete { key } => TxnOp::delete(self.etcd.key(key), None),
        };
        changes.iter().map(operation).collect()
    }
}

#[async_trait]
impl StateStore for EtcdState {
    async fn load(&self) -> Result<Snapshot, StateError> {
        let mut known = self.known.lock().await;
        let (now, pieces) = self.within_term(self.read_all()).await?;
        let revision = Revision::new(now.head.revision);
        *known = now;
        let records = pieces.into_iter().map(|(key, value)| (key, value.concat())).collect();
        Ok(Snapshot { revision, records })
    }

    async fn commit(&self, expected: Revision, changes: Vec<Put>) -> Result<Revision, StateError> {
        let mut known = self.known.lock().await;
        let current = known.head.clone();
        if expected != Revision::new(current.revision) {
            return Err(self.conflict(expected.number(), Some(current)));
        }
        let records: BTreeMap<String, Vec<u8>> =
            changes.into_iter().map(|put| (put.key, put.value)).collect();
        let (mut changes, mut sizes) = (Vec::new(), Vec::new());
        for (key, value) in records {
            let value = cut(&value);
            if value.len() > PIECES_MAX {
                return Err(self.etcd.damaged(format!("the record {key} is too large for it")));
            }
            sizes.push((key.clone(), value.len()));
            replace(&key, value, known.pieces.get(&key).copied().unwrap_or(0), &mut changes);
        }
        let head = self.within_term(self.apply(&current, changes)).await?;
        known.head = head;
        known.pieces.extend(sizes);
        Ok(Revision::new(known.head.revision))
    }
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: numbers are JSON")
    }

    /// Where the pieces of this revision are staged.
    fn staged_under(&self) -> String {
        format!("{STAGED}{}-{}/", self.token, self.revision)
    }
}

impl Change {
    /// The same in `staged`. What is to be deleted follows from the number of pieces there.
    fn beside(&self, head: &Head) -> Option<Self> {
        match self {
            Self::Put { key, value } => {
                let key = key.strip_prefix(RECORDS).expect("invariant: only records are staged");
                Some(Self::Put { key: format!("{}{key}", head.staged_under()), value: value.clone() })
            }
            Self::Delete { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// A value in pieces; an empty one has one, too.
fn cut(value: &[u8]) -> Vec<Vec<u8>> {
    if value.is_empty() {
        vec![Vec::new()]
    } else {
        value.chunks(PIECE_BYTES_MAX).map(<[u8]>::to_vec).collect()
    }
}

/// The changes that give a record this value instead of one of `pieces` pieces.
fn replace(key: &str, value: Vec<Vec<u8>>, pieces: usize, changes: &mut Vec<Change>) {
    let name = |number: usize| format!("{RECORDS}{key}{BEFORE_PIECE}{number:04}");
    // The last one first, so that there is no gap at any time.
    let left_over = (value.len()..pieces).rev();
    changes.extend(
        value.into_iter().enumerate().map(|(number, value)| Change::Put { key: name(number), value }),
    );
    changes.extend(left_over.map(|number| Change::Delete { key: name(number) }));
}

/// The changes in groups that each fit into a transaction, in their order.
fn groups(changes: &[Change]) -> Vec<&[Change]> {
    let (mut groups, mut rest, mut size, mut bytes) = (Vec::new(), changes, 0, 0);
    for change in changes {
        if size == TRANSACTION_CHANGES_MAX || (size > 0 && bytes + change.bytes() > TRANSACTION_BYTES_MAX) {
            let (group, others) = rest.split_at(size);
            groups.push(group);
            (rest, size, bytes) = (others, 0, 0);
        }
        (size, bytes) = (size + 1, bytes + change.bytes());
    }
    if !rest.is_empty() {
        groups.push(rest);
    }
    groups
}

#[cfg(test)]
mod tests {
    use phalanx_tests::Etcd as Server;

    use super::*;
    use crate::cluster::tests::elected;

    #[tokio::test]
    async fn a_write_that_was_sent_twice_and_arrives_late_changes_nothing() {
        let Some(etcd) = Server::start(1) else { return };
        let leader = elected(&etcd, "first").await;
        let state = leader.state().await.unwrap();
        let mut revision = state.load().await.unwrap().revision;
        let put = |value: &[u8]| vec![Put { key: "a".to_owned(), value: value.to_vec() }];
        let large = vec![b'x'; 2 << 20];
        let before = state.known.lock().await.head.clone();
        revision = state.commit(revision, put(&large)).await.unwrap();
        state.commit(revision, put(b"new")).await.unwrap();

        let mut old = Vec::new();
        replace("a", cut(&large), 0, &mut old);
        let staged = Head { revision: 1, token: leader.token(), staged: true };
        for head in [before, staged] {
            let late = state.write(&head, state.operations(&old[..2])).await;
            assert!(matches!(late, Err(StateError::Conflict { .. })), "{late:?}");
            let late =
                state.swap(&head, &Head { revision: head.revision + 7, ..head.clone() }, Vec::new()).await;
            assert!(matches!(late, Err(StateError::Conflict { .. })), "{late:?}");
        }
        assert_eq!(state.load().await.unwrap().records["a"], b"new");
    }
}
