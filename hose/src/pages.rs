//! The user-space transport's one step: bytes from one linear memory into another of the same process, copied or by
//! letting whole pages change hands (section 4.1 of the paper).
//!
//! A move remaps the pages of the source to the target with mremap(2), `MREMAP_DONTUNMAP`: the target's old pages go, the
//! source stays mapped and reads as zeros, and at no moment is either range unmapped, so that no other mapping of the process can
//! land in it. What is no whole page, and everything where source and target do not lie alike in their pages, is
//! copied, and counted as copied. With huge pages, and at addresses that are congruent modulo [`CONGRUENT`], whole page
//! tables change hands (`examples/pages.rs`: 500 MB in 0.15 ms, 2 ms where they are not).
//!
//! Invariants:
//! - after a move the source is zero, whichever way each byte went: the new owner's bytes are nowhere else;
//! - a range is either wholly the caller's or the process ends: see `restore`.
//!
//! Not here: who may read or write which range (the executor), the choice between copying and moving.

#![expect(unsafe_code, reason = "mremap(2) of memory that is known by its address only")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap_fixed};

/// Where pages lie alike for whole page tables to change hands: the size of a huge page on x86-64, and on aarch64 with pages of
/// 4 KB.
pub const CONGRUENT: usize = 2 << 20;

/// Bytes below which copying costs less than moving, if the target has its pages already. Not the system call is what counts, but
/// that pages which change hands have to be given back by one side, and got anew by the other (`make bench`, memory.csv: handled).
pub const MOVE_FROM: usize = 2 << 20;

/// Bytes below which copying costs less than moving in any case. Between the two, what counts is whether a copy would have to
/// get the target's pages first: 1 MB is copied in 19 µs into pages that are there, in 300 µs into others, and moved in 10.
pub const MOVE_INTO_FRESH_FROM: usize = 64 << 10;

/// Bytes from which a copy asks for huge pages: into fresh memory that is three times faster (`examples/pages.rs`).
const HUGE_FROM: usize = 4 << 20;

/// Ranges that no single mapping covers are halved down to this before they are copied.
const GIVE_UP_AT: usize = 64 << 10;

/// Bytes that the holder alone reads and writes for `'a`, in private anonymous memory of this process.
#[derive(Debug)]
pub struct Range<'a> {
    start: NonNull<u8>,
    len: usize,
    exclusive: PhantomData<&'a mut [u8]>,
}

// SAFETY: it is what `&'a mut [u8]` is, which other threads may have.
unsafe impl Send for Range<'_> {}
// SAFETY: as above; who has it by a shared reference can only read.
unsafe impl Sync for Range<'_> {}

impl<'a> Range<'a> {
    /// # Safety
    ///
    /// For `'a` the `len` bytes at `start` are mapped readable and writable, and nobody but the holder reads, writes or maps
    /// them. To be moved from or to, they have to be private anonymous memory.
    #[must_use]
    pub unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len, exclusive: PhantomData }
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its bytes, to be read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the type's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the type's promise, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Asks for huge pages where the range is large enough for one. A kernel without them says no, which costs speed alone.
    pub fn prefer_huge_pages(&mut self) {
        let start = self.start.addr().get().next_multiple_of(CONGRUENT);
        let end = (self.start.addr().get() + self.len) / CONGRUENT * CONGRUENT;
        if start < end {
            let inner = self.start.as_ptr().with_addr(start).cast();
            // SAFETY: the pages are the holder's, and the advice changes no byte of them.
            let _ = unsafe { rustix::mm::madvise(inner, end - start, rustix::mm::Advice::LinuxHugepage) };
        }
    }

    fn address(&self) -> usize {
        self.start.addr().get()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let at = at.min(self.len);
        // SAFETY: `at` is at most the range's length.
        let middle = unsafe { self.start.add(at) };
        let rest = Self { start: middle, len: self.len - at, exclusive: PhantomData };
        (Self { len: at, ..self }, rest)
    }
}

/// How the bytes of a payload crossed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    /// Bytes whose pages changed hands.
    pub moved: u64,
    /// Bytes that were copied.
    pub copied: u64,
}

impl std::ops::AddAssign for Crossing {
    fn add_assign(&mut self, other: Self) {
        self.moved += other.moved;
        self.copied += other.copied;
    }
}

/// Copies `source` to the beginning of `target`: one memcpy, into huge pages where that is worth asking for them.
///
/// # Panics
///
/// When the target is shorter.
pub fn copy(source: &Range<'_>, target: &mut Range<'_>) -> Crossing {
    if source.len >= HUGE_FROM {
        target.prefer_huge_pages();
    }
    target.bytes_mut()[..source.len].copy_from_slice(source.bytes());
    Crossing { moved: 0, copied: source.len as u64 }
}

/// Moves `source` to `target`, which is as long; afterwards the source is zero.
///
/// # Panics
///
/// When the two differ in length.
pub fn move_to(source: Range<'_>, target: Range<'_>) -> Crossing {
    assert_eq!(source.len, target.len, "a move is from one range to another of its length");
    let page = rustix::param::page_size();
    let offset = source.address() % page;
    if offset != target.address() % page || !is_worth_moving(&target) {
        return copy_and_clear(source, target);
    }
    let head = (page - offset) % page;
    let whole = (source.len - head) / page * page;
    let (source_head, source) = source.split(head);
    let (target_head, target) = target.split(head);
    let (source, source_tail) = source.split(whole);
    let (target, target_tail) = target.split(whole);
    let mut crossing = copy_and_clear(source_head, target_head);
    crossing += relocate(source, target);
    crossing += copy_and_clear(source_tail, target_tail);
    crossing
}

fn is_worth_moving(target: &Range<'_>) -> bool {
    target.len >= MOVE_FROM || (target.len >= MOVE_INTO_FRESH_FROM && is_fresh(target))
}

/// Whether most pages of a range shorter than [`MOVE_FROM`] have never been touched, or were given back: mincore(2).
fn is_fresh(range: &Range<'_>) -> bool {
    let page = rustix::param::page_size();
    let start = range.address() / page * page;
    let len = range.address() + range.len - start;
    let pages = len.div_ceil(page);
    let mut present = [0_u8; MOVE_FROM / 4096 + 1];
    let Some(present) = present.get_mut(..pages) else { return false };
    let start = range.start.as_ptr().with_addr(start).cast();
    // SAFETY: the kernel writes a byte a page to `present`, which has as many, and reads nothing of the range.
    let answered = unsafe { libc::mincore(start, len, present.as_mut_ptr()) } == 0;
    answered && present.iter().filter(|present| *present & 1 == 1).count() < pages.div_ceil(2)
}

fn copy_and_clear(source: Range<'_>, mut target: Range<'_>) -> Crossing {
    let crossing = copy(&source, &mut target);
    clear(source);
    crossing
}

/// Makes bytes zero; whole pages by giving them back.
pub fn clear(range: Range<'_>) {
    let page = rustix::param::page_size();
    let head = (page - range.address() % page) % page;
    let whole = range.len.saturating_sub(head) / page * page;
    if range.len < MOVE_FROM || whole == 0 {
        return zero(range);
    }
    let (head, rest) = range.split(head);
    let (pages, tail) = rest.split(whole);
    zero(head);
    zero(tail);
    // SAFETY: the pages are the holder's, private and anonymous: they read as zeros afterwards.
    let given = unsafe {
        rustix::mm::madvise(pages.start.as_ptr().cast(), pages.len, rustix::mm::Advice::LinuxDontNeed)
    };
    if given.is_err() {
        zero(pages);
    }
}

fn zero(mut range: Range<'_>) {
    range.bytes_mut().fill(0);
}

/// Moves whole pages. A range that several mappings of the kernel's make up cannot be moved at once: it is halved.
fn relocate(source: Range<'_>, target: Range<'_>) -> Crossing {
    let len = source.len;
    if len == 0 {
        return Crossing::default();
    }
    match remap(&source, &target) {
        Ok(()) => return Crossing { moved: len as u64, copied: 0 },
        // Nothing was done, and nothing will be for a shorter range: a kernel before 5.7, or a seccomp profile.
        Err(Errno::INVAL | Errno::PERM | Errno::NOSYS | Errno::ACCESS) => {
            return copy_and_clear(source, target);
        }
        Err(_) => restore(&target),
    }
    if len <= GIVE_UP_AT {
        return copy_and_clear(source, target);
    }
    let half = halfway(source.address(), len);
    let (source, source_rest) = source.split(half);
    let (target, target_rest) = target.split(half);
    let mut crossing = relocate(source, target);
    crossing += relocate(source_rest, target_rest);
    crossing
}

/// Where to cut a range of whole pages: at a boundary of huge pages if there is one near the middle.
fn halfway(address: usize, len: usize) -> usize {
    let middle = address + len / 2;
    let huge = middle / CONGRUENT * CONGRUENT;
    let page = rustix::param::page_size();
    if huge > address { huge - address } else { middle / page * page - address }
}

fn remap(source: &Range<'_>, target: &Range<'_>) -> rustix::io::Result<()> {
    let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
    let (from, to) = (source.start.as_ptr().cast(), target.start.as_ptr().cast());
    // SAFETY: both ranges are the caller's, of whole pages, and do not overlap; the source stays mapped.
    unsafe { mremap_fixed(from, source.len, source.len, flags, to) }.map(drop)
}

/// After a move that failed. A kernel may have unmapped the target before it found out: the range is mapped again, unless another
/// thread's mapping has landed there meanwhile, after which nobody could say whose bytes are whose.
fn restore(target: &Range<'_>) {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
    // SAFETY: with this flag nothing that is mapped is replaced; the range is the caller's.
    match unsafe { mmap_anonymous(target.start.as_ptr().cast(), target.len, protection, flags) } {
        // It was unmapped, and is mapped again.
        Ok(_) => {}
        // Since 6.17 the kernel looks first and unmaps then: the old mapping is still there.
        Err(Errno::EXIST) if checks_before_it_unmaps() => {}
        Err(_) => std::process::abort(),
    }
}

fn checks_before_it_unmaps() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 17),
        _ => false,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Private anonymous memory of its own, as a linear memory is.
    struct Memory {
        start: NonNull<u8>,
        len: usize,
    }

    impl Memory {
        fn new(len: usize) -> Self {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping.
            let start =
                unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE) }.unwrap();
            Self { start: NonNull::new(start.cast()).unwrap(), len }
        }

        fn range(&mut self, offset: usize, len: usize) -> Range<'_> {
            assert!(offset + len <= self.len);
            // SAFETY: within the mapping.
            let start = unsafe { self.start.add(offset) };
            // SAFETY: within the mapping, which is borrowed mutably.
            unsafe { Range::new(start, len) }
        }

        fn fill(&mut self, offset: usize, len: usize, seed: u8) {
            for (i, byte) in self.range(offset, len).bytes_mut().iter_mut().enumerate() {
                *byte = pattern(i, seed);
            }
        }

        fn holds(&mut self, offset: usize, len: usize, seed: u8) -> bool {
            self.range(offset, len).bytes().iter().enumerate().all(|(i, byte)| *byte == pattern(i, seed))
        }

        fn is_zero(&mut self, offset: usize, len: usize) -> bool {
            self.range(offset, len).bytes().iter().all(|byte| *byte == 0)
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: mapped by `new`, and borrowed by nobody.
            unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) }.unwrap();
        }
    }

    fn pattern(i: usize, seed: u8) -> u8 {
        (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed
    }

    #[test]
    fn a_move_leaves_zeros_and_touches_nothing_beside_it() {
        let page = rustix::param::page_size();
        let all = MOVE_FROM + 16 * page;
        let len = MOVE_FROM + 100;
        let (mut a, mut b) = (Memory::new(all), Memory::new(all));
        a.fill(0, all, 1);
        b.fill(0, all, 2);
        a.fill(2 * page + 50, len, 3);
        let crossing = move_to(a.range(2 * page + 50, len), b.range(5 * page + 50, len));
        assert_eq!(crossing.moved, (MOVE_FROM - page) as u64);
        assert_eq!(crossing.copied, (page + 100) as u64);
        assert!(b.holds(5 * page + 50, len, 3));
        assert!(a.is_zero(2 * page + 50, len));
        assert!(a.holds(0, 2 * page + 50, 1) && b.holds(0, 5 * page + 50, 2));
        // Both go on being ordinary memory.
        a.fill(0, all, 4);
        b.fill(0, all, 5);
        assert!(a.holds(0, all, 4) && b.holds(0, all, 5));
    }

    #[test]
    fn what_does_not_lie_alike_is_copied_and_counted_as_copied() {
        let len = MOVE_FROM + 1000;
        let (mut a, mut b) = (Memory::new(4 << 20), Memory::new(4 << 20));
        a.fill(16, len, 7);
        let crossing = move_to(a.range(16, len), b.range(32, len));
        assert_eq!(crossing, Crossing { moved: 0, copied: len as u64 });
        assert!(b.holds(32, len, 7) && a.is_zero(16, len));
    }

    #[test]
    fn what_is_cleared_is_zero_and_nothing_beside_it() {
        let mut a = Memory::new(1 << 20);
        for (from, len) in [(0, 0), (10, 100), (5000, 300_000), (4096, 1 << 19), (1, (1 << 20) - 1)] {
            a.fill(0, 1 << 20, 3);
            clear(a.range(from, len));
            assert!(a.is_zero(from, len) && a.holds(0, from, 3), "{from} {len}");
            let after = a.range(0, 1 << 20).bytes()[from + len..].to_vec();
            assert!(after.iter().enumerate().all(|(i, byte)| *byte == pattern(from + len + i, 3)));
        }
    }

    #[test]
    fn small_payloads_are_copied() {
        let (mut a, mut b) = (Memory::new(MOVE_FROM), Memory::new(MOVE_FROM));
        a.fill(0, MOVE_INTO_FRESH_FROM - 1, 6);
        let small = MOVE_INTO_FRESH_FROM - 1;
        assert_eq!(move_to(a.range(0, small), b.range(0, small)).moved, 0);
        a.fill(0, MOVE_FROM - 1, 7);
        b.fill(0, MOVE_FROM, 1);
        let crossing = move_to(a.range(0, MOVE_FROM - 1), b.range(0, MOVE_FROM - 1));
        assert_eq!(crossing, Crossing { moved: 0, copied: MOVE_FROM as u64 - 1 });
        assert!(b.holds(0, MOVE_FROM - 1, 7) && a.is_zero(0, MOVE_FROM - 1));
        assert_eq!(move_to(a.range(0, 0), b.range(0, 0)), Crossing::default());
    }

    #[test]
    fn middling_payloads_are_moved_where_no_pages_are_and_copied_where_they_are() {
        let (len, page) = (1 << 20, rustix::param::page_size());
        let (mut a, mut b) = (Memory::new(MOVE_FROM), Memory::new(MOVE_FROM));
        a.fill(0, len, 7);
        let crossing = move_to(a.range(0, len), b.range(page, len));
        assert_eq!(crossing, Crossing { moved: len as u64, copied: 0 });
        assert!(b.holds(page, len, 7) && a.is_zero(0, len));
        a.fill(0, len, 8);
        let crossing = move_to(a.range(0, len), b.range(page, len));
        assert_eq!(crossing, Crossing { moved: 0, copied: len as u64 });
        assert!(b.holds(page, len, 8) && a.is_zero(0, len));
    }

    #[test]
    fn a_range_of_several_mappings_is_moved_in_pieces() {
        let len = 16 << 20;
        let (mut a, mut b) = (Memory::new(len), Memory::new(len));
        // What was moved into the middle is a mapping of its own from then on.
        b.fill(0, len, 9);
        move_to(b.range(4 << 20, 2 << 20), a.range(4 << 20, 2 << 20));
        a.fill(0, len, 8);
        let crossing = move_to(a.range(0, len), b.range(0, len));
        assert_eq!(crossing.moved + crossing.copied, len as u64);
        assert!(crossing.moved >= 14 << 20, "{crossing:?}");
        assert!(b.holds(0, len, 8) && a.is_zero(0, len));
    }

    #[test]
    fn pages_go_back_and_forth_without_more_mappings() {
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let (mut a, mut b) = (Memory::new(8 << 20), Memory::new(8 << 20));
        let mut after_first = 0;
        for round in 0..200_u8 {
            a.fill(1 << 20, 1000, round);
            move_to(a.range(1 << 20, 4 << 20), b.range(2 << 20, 4 << 20));
            assert!(b.holds(2 << 20, 1000, round));
            move_to(b.range(2 << 20, 4 << 20), a.range(1 << 20, 4 << 20));
            assert!(a.holds(1 << 20, 1000, round));
            if round == 0 {
                after_first = mappings();
            }
        }
        // Other tests of this process map, too.
        assert!(mappings() < after_first + 50, "{} from {after_first}", mappings());
    }

    #[test]
    fn a_hole_is_mapped_again_and_what_is_mapped_is_left_alone() {
        let mut a = Memory::new(1 << 20);
        a.fill(0, 1 << 20, 3);
        if checks_before_it_unmaps() {
            restore(&a.range(0, 1 << 20));
            assert!(a.holds(0, 1 << 20, 3));
        }
        // SAFETY: within the mapping.
        let hole = unsafe { a.start.add(4 << 16) };
        // SAFETY: the pages are this test's, and mapped again before they are touched.
        unsafe { rustix::mm::munmap(hole.as_ptr().cast(), 1 << 16) }.unwrap();
        restore(&a.range(4 << 16, 1 << 16));
        assert!(a.is_zero(4 << 16, 1 << 16) && a.holds(0, 4 << 16, 3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_range_arrives_whole(
            len in 0_usize..MOVE_FROM + 500_000, from in 0_usize..20_000, to in 0_usize..20_000, alike: bool, seed: u8
        ) {
            let page = rustix::param::page_size();
            let to = if alike { to / page * page + from % page } else { to };
            let all = 3 << 20;
            let (mut a, mut b) = (Memory::new(all), Memory::new(all));
            a.fill(from, len, seed);
            let crossing = move_to(a.range(from, len), b.range(to, len));
            prop_assert_eq!(crossing.moved + crossing.copied, len as u64);
            prop_assert!(b.holds(to, len, seed));
            prop_assert!(a.is_zero(0, all));
            prop_assert!(b.is_zero(0, to) && b.is_zero(to + len, all - to - len));
        }
    }
}
