//! What crossed a container's hoses, counted by the executor in a page that the runtime has shared with it.
//!
//! ```text
//! word 0       MAGIC and the version
//! word 64·n    entry n, from 1 on: state, name, counters, histogram
//! ```
//!
//! A word is 8 bytes in the machine's order; both sides are programs of one machine. There is no lock: an entry is claimed once, by an
//! exchange of its state, and only counts up from then on. What is read while something is counted is a moment's view, in which
//! one number may be ahead of another.
//!
//! The reader does not trust a byte of it: the process that writes it runs untrusted code.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of the page.
pub const LEN: usize = 64 << 10;
/// First word: a mark, and the version of the layout in the lowest byte.
pub const MAGIC: u64 = u64::from_be_bytes(*b"rr-hose\x01");
/// Buckets of the histogram: the last is open, the one before ends at 2^30 microseconds, 18 minutes.
pub const BUCKETS: usize = 32;

/// What the names of temporary ends of the host begin with. There is a new one for each call, and they are counted together, under
/// [`VISITORS`]; no container has such a name.
pub const VISITOR: &str = "invoke-";
/// See [`VISITOR`].
pub const VISITORS: &str = "invoke";

/// Words of an entry.
const STRIDE: usize = 64;
/// Longest name.
const MAX_NAME: usize = 63;

const STATE: usize = 0;
const NAME: usize = 1;
const NAME_WORDS: usize = (MAX_NAME + 1) / 8;
const CALLS: usize = NAME + NAME_WORDS;
const BYTES: usize = CALLS + 1;
const COPIED: usize = BYTES + 1;
const ERRORS: usize = COPIED + 1;
const MICROSECONDS: usize = ERRORS + 1;
const TRANSFERS: usize = MICROSECONDS + 1;
const HISTOGRAM: usize = TRANSFERS + Transfer::ALL.len();

const CLAIMED: u64 = 1;
const READY: u64 = 2;

const _: () = assert!(HISTOGRAM + BUCKETS <= STRIDE, "an entry fits its place");

/// Which way payloads go, as the container sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the peer.
    Send,
    /// From the peer.
    Receive,
}

/// The transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Between functions of one process.
    Memory,
    /// Between containers of one host.
    Unix,
    /// Between hosts.
    Tcp,
}

/// How the bytes of a payload crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transfer {
    /// All of them were copied.
    Copy,
    /// Pages changed hands.
    Move,
    /// As sealed memory.
    Memfd,
    /// By splice.
    Splice,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Send, Self::Receive];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
        }
    }
}

impl Mode {
    const ALL: [Self; 3] = [Self::Memory, Self::Unix, Self::Tcp];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        }
    }
}

impl Transfer {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Copy, Self::Move, Self::Memfd, Self::Splice];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Move => "move",
            Self::Memfd => "memfd",
            Self::Splice => "splice",
        }
    }
}

/// The page, for the executor.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a>(&'a [AtomicU64]);

/// One peer in one direction over one transport, for the executor.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a>(&'a [AtomicU64]);

impl<'a> Page<'a> {
    /// Of memory that is shared and as long as a page: `None` for another.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let ours = words.len() == LEN / 8 && words.first()?.load(Ordering::Relaxed) == MAGIC;
        ours.then_some(Self(words))
    }

    /// The counter of `name`, which is claimed if there is none. When the page is full it is one that all the others share, under no
    /// name.
    #[must_use]
    pub fn counter(&self, direction: Direction, mode: Mode, name: &str) -> Counter<'a> {
        let (key, state) = (packed(name), ready(direction, mode));
        let mut entries = self.0.chunks_exact(STRIDE).skip(1).map(Counter);
        let last = entries.next_back();
        for entry in entries {
            if entry.is(state, &key) || entry.claim(state, &key) {
                return entry;
            }
        }
        let shared = last.unwrap_or(Counter(&[]));
        if let Some(word) = shared.0.first() {
            word.store(state, Ordering::Release);
        }
        shared
    }
}

impl Counter<'_> {
    fn is(&self, state: u64, key: &[u64; NAME_WORDS]) -> bool {
        let name = self.0.get(NAME..CALLS).unwrap_or_default();
        self.0.first().is_some_and(|word| word.load(Ordering::Acquire) == state)
            && name.iter().zip(key).all(|(word, wanted)| word.load(Ordering::Relaxed) == *wanted)
    }

    /// Takes it, if it is nobody's.
    fn claim(&self, state: u64, key: &[u64; NAME_WORDS]) -> bool {
        let Some(word) = self.0.first() else { return false };
        if word.compare_exchange(0, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        for (word, part) in self.0.get(NAME..CALLS).unwrap_or_default().iter().zip(key) {
            word.store(*part, Ordering::Relaxed);
        }
        word.store(state, Ordering::Release);
        true
    }

    fn add(&self, word: usize, count: u64) {
        if let Some(word) = self.0.get(word) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A payload has crossed.
    pub fn crossed(&self, bytes: u64, copied: u64, transfer: Transfer) {
        self.add(BYTES, bytes);
        self.add(COPIED, copied);
        self.add(TRANSFERS + transfer as usize, 1);
    }

    /// Bytes have been copied before they crossed.
    pub fn copied(&self, bytes: u64) {
        self.add(COPIED, bytes);
    }

    /// A payload has been handled, this long after it was sent, or came; or has not been, or failed.
    pub fn called(&self, took: Duration, failed: bool) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.add(CALLS, 1);
        self.add(ERRORS, u64::from(failed));
        self.add(MICROSECONDS, microseconds);
        self.add(HISTOGRAM + bucket(microseconds), 1);
    }
}

/// Bucket n > 0 holds what is below 2^n microseconds, and not in an earlier one.
fn bucket(microseconds: u64) -> usize {
    ((u64::BITS - microseconds.leading_zeros()) as usize).min(BUCKETS - 1)
}

fn packed(name: &str) -> [u64; NAME_WORDS] {
    let mut bytes = [0; MAX_NAME + 1];
    let len = name.len().min(MAX_NAME);
    bytes[0] = u8::try_from(len).unwrap_or(0);
    bytes[1..=len].copy_from_slice(&name.as_bytes()[..len]);
    let mut words = [0; NAME_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.try_into().map_or(0, u64::from_ne_bytes);
    }
    words
}

fn ready(direction: Direction, mode: Mode) -> u64 {
    READY | (direction as u64) << 8 | (mode as u64) << 16
}

/// One peer in one direction over one transport, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which way.
    pub direction: Direction,
    /// Over which transport.
    pub mode: Mode,
    /// Who; nobody for what many share.
    pub name: String,
    /// Payloads that were sent or given to a handler, whatever became of them.
    pub calls: u64,
    /// Bytes of payloads that have crossed.
    pub bytes: u64,
    /// Of these, bytes that this side copied, or had its kernel copy.
    pub copied: u64,
    /// Calls that failed: a status of a function's own is no failure.
    pub errors: u64,
    /// Sum of the time that they took.
    pub microseconds: u64,
    /// How payloads crossed, in the order of [`Transfer::ALL`].
    pub transfers: [u64; 4],
    /// Calls by time: bucket n > 0 holds those below 2^n microseconds that are in no earlier one.
    pub histogram: [u64; BUCKETS],
}

/// Reads a page: `None` for what is none of this version. Entries that make no sense are left out; those of one peer, of which
/// there may be two when two threads began with it at once, are added up.
#[must_use]
pub fn read(page: &[u8]) -> Option<Vec<Entry>> {
    if page.len() != LEN || word(page, 0) != MAGIC {
        return None;
    }
    let mut entries: Vec<Entry> = Vec::new();
    for entry in page.chunks_exact(STRIDE * 8).skip(1).filter_map(entry) {
        let same = |other: &&mut Entry| {
            (other.direction, other.mode, &other.name) == (entry.direction, entry.mode, &entry.name)
        };
        match entries.iter_mut().find(same) {
            Some(first) => first.add(&entry),
            None => entries.push(entry),
        }
    }
    entries.sort_by(|a, b| (a.direction, a.mode, &a.name).cmp(&(b.direction, b.mode, &b.name)));
    Some(entries)
}

impl Entry {
    fn add(&mut self, other: &Self) {
        let sum = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        sum(&mut self.calls, other.calls);
        sum(&mut self.bytes, other.bytes);
        sum(&mut self.copied, other.copied);
        sum(&mut self.errors, other.errors);
        sum(&mut self.microseconds, other.microseconds);
        self.transfers.iter_mut().zip(other.transfers).for_each(|(to, more)| sum(to, more));
        self.histogram.iter_mut().zip(other.histogram).for_each(|(to, more)| sum(to, more));
    }
}

fn word(bytes: &[u8], index: usize) -> u64 {
    let word = bytes.get(index * 8..index * 8 + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_ne_bytes)
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let state = word(bytes, STATE);
    let direction = Direction::ALL.into_iter().find(|direction| *direction as u64 == state >> 8 & 0xff)?;
    let mode = Mode::ALL.into_iter().find(|mode| *mode as u64 == state >> 16)?;
    if state & 0xff != READY {
        return None;
    }
    let name = bytes.get(NAME * 8..CALLS * 8)?;
    let name = name.get(1..=usize::from(*name.first()?))?;
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if !name.iter().all(plain) {
        return None;
    }
    Some(Entry {
        direction,
        mode,
        name: String::from_utf8(name.to_vec()).ok()?,
        calls: word(bytes, CALLS),
        bytes: word(bytes, BYTES),
        copied: word(bytes, COPIED),
        errors: word(bytes, ERRORS),
        microseconds: word(bytes, MICROSECONDS),
        transfers: std::array::from_fn(|n| word(bytes, TRANSFERS + n)),
        histogram: std::array::from_fn(|n| word(bytes, HISTOGRAM + n)),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ENTRIES: usize = LEN / 8 / STRIDE;

    fn words() -> Vec<AtomicU64> {
        let words: Vec<AtomicU64> = (0..LEN / 8).map(|_| AtomicU64::new(0)).collect();
        words[0].store(MAGIC, Ordering::Relaxed);
        words
    }

    fn bytes(words: &[AtomicU64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect()
    }

    #[test]
    fn what_is_counted_is_read_by_peer_direction_and_mode() {
        let words = words();
        let page = Page::new(&words).unwrap();
        for _ in 0..3 {
            let counter = page.counter(Direction::Send, Mode::Unix, "b");
            counter.crossed(100, 40, Transfer::Memfd);
            counter.called(Duration::from_micros(5), false);
        }
        page.counter(Direction::Receive, Mode::Unix, "b").called(Duration::ZERO, true);
        page.counter(Direction::Send, Mode::Memory, &"x".repeat(63)).crossed(1, 0, Transfer::Move);
        let entries = read(&bytes(&words)).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].name, "x".repeat(63));
        let sent = &entries[1];
        assert_eq!((sent.name.as_str(), sent.calls, sent.bytes, sent.copied), ("b", 3, 300, 120));
        assert_eq!((sent.transfers, sent.errors, sent.microseconds), ([0, 0, 3, 0], 0, 15));
        assert_eq!((sent.histogram[3], entries[2].histogram[0], entries[2].errors), (3, 1, 1));
    }

    #[test]
    fn buckets_are_powers_of_two() {
        for (microseconds, expected) in
            [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1 << 30, 31), (u64::MAX, 31)]
        {
            assert_eq!(bucket(microseconds), expected, "{microseconds}");
        }
    }

    #[test]
    fn a_full_page_counts_the_rest_together() {
        let words = words();
        let page = Page::new(&words).unwrap();
        for n in 0..ENTRIES + 50 {
            page.counter(Direction::Send, Mode::Unix, &format!("n{n}")).called(Duration::ZERO, false);
        }
        let entries = read(&bytes(&words)).unwrap();
        assert_eq!(entries.len(), ENTRIES - 1);
        assert_eq!(entries.iter().map(|entry| entry.calls).sum::<u64>(), ENTRIES as u64 + 50);
        assert_eq!((entries[0].name.as_str(), entries[0].calls), ("", 52));
    }

    #[test]
    fn two_threads_that_begin_with_one_peer_lose_nothing() {
        let words = words();
        let page = Page::new(&words).unwrap();
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for n in 0..1000 {
                        let name = format!("n{}", n % 10);
                        page.counter(Direction::Send, Mode::Memory, &name).called(Duration::ZERO, false);
                    }
                });
            }
        });
        let entries = read(&bytes(&words)).unwrap();
        assert_eq!(entries.len(), 10);
        assert!(entries.iter().all(|entry| entry.calls == 800), "{entries:?}");
    }

    #[test]
    fn what_is_no_page_is_none_and_nonsense_in_one_is_left_out() {
        let mut page = bytes(&words());
        assert_eq!(read(&page), Some(Vec::new()));
        assert_eq!(read(&page[1..]), None);
        assert_eq!(read(&[]), None);
        // Every byte of the first entries once with every bit set.
        for at in 512..2048 {
            for state in [2_u64, 0x0102, 0x01_0002, 0x07_0002, 0xff02, u64::MAX] {
                page[512..520].copy_from_slice(&state.to_ne_bytes());
                page[at] = 0xff;
                let _ = read(&page);
                page[at] = 0;
            }
        }
        page[0] ^= 1;
        assert_eq!(read(&page), None);
        let small = [AtomicU64::new(MAGIC)];
        assert!(Page::new(&small).is_none());
    }
}
