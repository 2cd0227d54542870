//! Times the memory transport's step by itself: `pages [COUNT]`. For each size, medians in nanoseconds of COUNT (default: 15)
//! runs, one line of JSON each: `remap` (mremap(2) alone), `remap_touch` and `remap_read` (and then a byte of each page of 4 KiB, or every byte, is
//! read), `move` (the same by this crate), `move_apart` (between addresses that are
//! not congruent modulo 2 MiB), `copy_fresh` (memcpy into memory that was never touched, on pages as the system gives them
//! unasked), `copy_fresh_huge` (on huge pages), `copy` (into touched memory). `pages COUNT WHAT SIZE` prints each run of one of them, a line each.
//!
//! Each source and each target lies in a reservation of its own, as linear memories do: within one GiB, whose huge pages stand in one
//! table of the kernel's, a remap of 500 MB takes a quarter less. Sources are filled before each run, and targets of moves hold no
//! pages: those of the remaps had pages that were given back, as a receiver's are, the others are fresh. But for `copy_fresh` all prefer
//! huge pages.

#![expect(unsafe_code, reason = "maps memory of its own")]

use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

use hose::pages::{self, CONGRUENT, Range};
use rustix::mm::{
    MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap_anonymous, mprotect, mremap_fixed, munmap,
};

/// From below the threshold of moving to what the paper sends, and on to the largest region.
const SIZES: [usize; 10] =
    [64, 4096, 16_384, 65_536, 1_000_000, 4_194_304, 10_000_000, 100_000_000, 500_000_000, 1_000_000_000];

/// Addresses that an engine reserves for a linear memory, so that whatever a guest adds to an address is caught.
const RESERVED: usize = 8 << 30;

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(15);
    if let (Some(what), Some(size)) = (std::env::args().nth(2), std::env::args().nth(3)) {
        let size = size.parse().expect("a size in bytes");
        (0..count).for_each(|_| println!("{}", time(&what, size)));
        return;
    }
    for size in SIZES {
        let names = [
            "remap",
            "remap_touch",
            "remap_read",
            "move",
            "move_apart",
            "copy_fresh",
            "copy_fresh_huge",
            "copy",
        ];
        let mut runs = names.map(|name| (name, Vec::new()));
        for _ in 0..count {
            for (name, times) in &mut runs {
                times.push(time(name, size));
            }
        }
        let medians = runs.map(|(name, mut times)| {
            times.sort_unstable();
            format!("\"{name}\": {}", times[times.len() / 2])
        });
        println!("{{\"size\": {size}, {}}}", medians.join(", "));
    }
}

fn time(what: &str, size: usize) -> u128 {
    let apart = if what == "move_apart" { 4096 } else { 0 };
    let (source, target) = (Memory::new(size, 0, true), Memory::new(size, apart, what != "copy_fresh"));
    let pages = size.next_multiple_of(4096);
    let remaps = what.starts_with("remap");
    if remaps {
        source.range().bytes_mut().fill(7);
        remap(&source, &target, pages);
        pages::clear(target.range());
    }
    source.range().bytes_mut().fill(7);
    if what == "copy" {
        target.range().bytes_mut().fill(1);
    }
    let start = Instant::now();
    match what {
        "remap" => remap(&source, &target, pages),
        "remap_touch" => {
            remap(&source, &target, pages);
            touch(target.range().bytes());
        }
        "remap_read" => {
            remap(&source, &target, pages);
            read(target.range().bytes());
        }
        "copy_fresh" => target.range().bytes_mut().copy_from_slice(source.range().bytes()),
        "copy" | "copy_fresh_huge" => {
            pages::copy(&source.range(), &mut target.range());
        }
        _ => {
            pages::move_to(source.range(), target.range());
        }
    }
    let taken = start.elapsed().as_nanos();
    if !remaps {
        assert!(target.range().bytes().iter().step_by(4096).all(|byte| *byte == 7));
    }
    taken
}

/// A byte of each page, each on another cache line of it: else all would be in one set of the cache.
fn touch(bytes: &[u8]) {
    black_box(bytes.iter().step_by(4096 - 64).fold(0_u8, |sum, byte| sum ^ byte));
}

fn read(bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    black_box(rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte))));
}

fn remap(source: &Memory, target: &Memory, len: usize) {
    let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
    let (from, to) = (source.start.as_ptr().cast(), target.start.as_ptr().cast());
    // SAFETY: both ranges are this program's, and as long as asked for.
    unsafe { mremap_fixed(from, len, len, flags, to) }.expect("mremap");
}

/// Memory at a multiple of 2 MiB and `offset`, with room behind it for whole pages.
struct Memory {
    mapping: NonNull<u8>,
    start: NonNull<u8>,
    len: usize,
}

impl Memory {
    fn new(len: usize, offset: usize, huge: bool) -> Self {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping.
        let mapping = unsafe { mmap_anonymous(std::ptr::null_mut(), RESERVED, ProtFlags::empty(), flags) };
        let mapping = NonNull::new(mapping.expect("mmap").cast::<u8>()).expect("not null");
        let granted = len.next_multiple_of(4096) + 2 * CONGRUENT;
        // SAFETY: the beginning of the mapping, which is larger.
        unsafe { mprotect(mapping.as_ptr().cast(), granted, MprotectFlags::READ | MprotectFlags::WRITE) }
            .expect("mprotect");
        let before = mapping.addr().get().next_multiple_of(CONGRUENT) - mapping.addr().get();
        // SAFETY: less than 2 MiB behind the mapping's start, and `offset` is a page.
        let start = unsafe { mapping.add(before + offset) };
        let memory = Self { mapping, start, len };
        if huge {
            memory.range().prefer_huge_pages();
        }
        memory
    }

    fn range(&self) -> Range<'_> {
        // SAFETY: within the mapping, and no two of one memory are used at once.
        unsafe { Range::new(self.start, self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, whole.
        unsafe { munmap(self.mapping.as_ptr().cast(), RESERVED) }.expect("munmap");
    }
}
