//! Buffers, what becomes of them, and descriptors that are not what they should be.

#![expect(unsafe_code, reason = "ranges of memory to map into")]

use std::os::fd::OwnedFd;
use std::ptr::null_mut;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::check::Sealed;
use super::*;

/// Anonymous memory that begins with a huge page.
pub(crate) struct Place {
    start: *mut u8,
    total: usize,
    address: *mut u8,
}

impl Place {
    pub(crate) fn new(len: usize) -> Self {
        let total = len.next_multiple_of(HUGE) + 2 * HUGE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(null_mut(), total, protection, MapFlags::PRIVATE) }.unwrap();
        let start = start.cast::<u8>();
        let address = start.wrapping_add(start.addr().next_multiple_of(HUGE) - start.addr());
        Self { start, total, address }
    }

    pub(crate) fn range(&self, offset: usize, len: usize) -> Range {
        // SAFETY: within this mapping, whose bytes are looked at only between two calls, and which the tests keep longer.
        unsafe { Range::new(self.address.wrapping_add(offset), len) }.unwrap()
    }

    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        // SAFETY: within this mapping; copied at once.
        unsafe { std::slice::from_raw_parts(self.address.wrapping_add(offset), len) }.to_vec()
    }

    pub(crate) fn fill(&self, offset: usize, len: usize, byte: u8) {
        // SAFETY: within this mapping, and nothing refers to it.
        unsafe { self.address.wrapping_add(offset).write_bytes(byte, len) };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made.
        unsafe { munmap(self.start.cast(), self.total) }.unwrap();
    }
}

#[test]
fn a_payload_is_mapped_by_several_of_one_process_and_each_writes_for_itself() {
    let payload = pattern(3 * HUGE + 5000);
    let frozen = frozen(&payload);
    let places = [Place::new(payload.len()), Place::new(payload.len())];
    let mapped = places.each_ref().map(|place| frozen.map_into(place.range(0, payload.len())).unwrap());
    assert!(mapped.iter().all(|mapped| mapped.mapped() == 3 * HUGE + 4096 && mapped.copied() == 904));
    places[0].fill(0, payload.len(), 0xee);
    assert!(places[1].bytes(0, payload.len()) == payload);
    let mut read = vec![0; payload.len()];
    frozen.read_into(&mut read).unwrap();
    assert!(read == payload);
    drop(mapped);
    assert!(places[1].bytes(0, 3 * HUGE).iter().all(|byte| *byte == 0));
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn frozen(payload: &[u8]) -> Frozen {
    let mut buffer = Buffer::new(payload.len()).unwrap();
    buffer.bytes_mut()[..payload.len()].copy_from_slice(payload);
    buffer.freeze(payload.len()).unwrap()
}

fn sealed(frozen: &Frozen) -> Sealed {
    Sealed::check(rustix::io::dup(frozen.as_fd()).unwrap(), frozen.len()).unwrap()
}

#[test]
fn a_size_depends_on_the_length_alone() {
    for (len, size) in [
        (1, PAGE),
        (PAGE, PAGE),
        (PAGE + 1, 2 * PAGE),
        (HUGE_MIN - 1, HUGE_MIN),
        (HUGE_MIN, HUGE),
        (HUGE - 1, HUGE),
        (HUGE, HUGE),
        (HUGE + 1, 2 * HUGE),
    ] {
        assert_eq!(size_of(len), Some(size), "{len}");
        assert_eq!(frozen(&pattern(len)).size(), size, "{len}");
    }
    assert_eq!(size_of(usize::MAX), None);
}

#[test]
fn what_is_frozen_cannot_be_changed_by_anyone() {
    let payload = pattern(3 * PAGE + 5);
    let frozen = frozen(&payload);
    assert_eq!(*frozen.view().unwrap(), payload[..]);
    let file = frozen.as_fd();
    assert_eq!(rustix::io::pwrite(file, b"x", 0).unwrap_err(), Errno::PERM);
    assert_eq!(ftruncate(file, 0).unwrap_err(), Errno::PERM);
    assert_eq!(ftruncate(file, 1 << 30).unwrap_err(), Errno::PERM);
    assert_eq!(fcntl_add_seals(file, SealFlags::GROW).unwrap_err(), Errno::PERM);
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, which the kernel refuses.
    let shared = unsafe { mmap(null_mut(), PAGE, protection, MapFlags::SHARED, file, 0) };
    assert_eq!(shared.unwrap_err(), Errno::PERM);
}

#[test]
fn a_shorter_payload_than_its_buffer_leaves_nothing_behind_it() {
    for (capacity, len) in [(PAGE, 7), (3 * HUGE, HUGE + 1), (3 * HUGE, 10), (HUGE + PAGE, HUGE + 1)] {
        let mut buffer = Buffer::new(capacity).unwrap();
        buffer.bytes_mut().fill(0xaa);
        let frozen = buffer.freeze(len).unwrap();
        assert_eq!(frozen.size(), size_of(len).unwrap());
        let mut all = vec![0; frozen.size()];
        assert_eq!(rustix::io::pread(frozen.as_fd(), &mut all, 0).unwrap(), all.len());
        assert!(all[..len].iter().all(|byte| *byte == 0xaa) && all[len..].iter().all(|byte| *byte == 0));
        sealed(&frozen);
    }
}

#[test]
fn a_buffer_is_filled_with_what_it_can_hold() {
    // Around the length from which a copy goes past the caches, from an address that is a multiple of nothing.
    for len in [1, 4 * PAGE + 3, (32 << 20) - 1, 32 << 20, (32 << 20) + 77] {
        let payload = pattern(len + 1);
        let mut buffer = Buffer::new(len).unwrap();
        buffer.fill(&payload[1..]).unwrap();
        assert!(*buffer.freeze(len).unwrap().view().unwrap() == payload[1..], "{len} bytes");
    }
    assert!(Buffer::new(PAGE).unwrap().fill(&[0; PAGE + 1]).is_err());
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    assert!(Buffer::new(0).is_err());
    assert!(Buffer::new(usize::MAX).is_err());
    assert!(Buffer::new(PAGE).unwrap().freeze(0).is_err());
    assert!(Buffer::new(PAGE).unwrap().freeze(PAGE + 1).is_err());
    let place = Place::new(HUGE);
    assert!(Buffer::over(place.range(1, PAGE)).is_err());
    assert!(Buffer::over(place.range(0, PAGE + 1)).is_err());
}

#[test]
fn a_buffer_over_a_range_leaves_fresh_memory_there() {
    for len in [PAGE, 3 * PAGE, 2 * HUGE, HUGE + PAGE] {
        let place = Place::new(len);
        place.fill(0, len, 0x11);
        let mut buffer = Buffer::over(place.range(0, len)).unwrap();
        assert!(buffer.bytes().iter().all(|byte| *byte == 0), "the old content is in the buffer");
        buffer.bytes_mut().fill(0x22);
        assert_eq!(place.bytes(0, len), vec![0x22; len], "it lies in the range");
        let frozen = buffer.freeze(len).unwrap();
        assert_eq!(place.bytes(0, len), vec![0; len], "the buffer is consumed");
        place.fill(0, len, 0x33);
        assert!(frozen.view().unwrap().iter().all(|byte| *byte == 0x22), "the payload was changed");
        // Dropped unfrozen, nothing of it is left either.
        drop(Buffer::over(place.range(0, len)).unwrap());
        assert_eq!(place.bytes(0, len), vec![0; len]);
    }
}

#[test]
fn a_payload_is_mapped_where_pages_meet_and_copied_where_not() {
    let len = 2 * HUGE + 3 * PAGE + 100;
    let payload = pattern(len);
    let frozen = frozen(&payload);
    for (offset, mapped) in [(0, len - 100), (PAGE, len - 100), (16, 0), (PAGE + 1, 0)] {
        let place = Place::new(len + HUGE);
        place.fill(0, len + HUGE, 0x44);
        let placed = sealed(&frozen).map_into(place.range(offset, len)).unwrap();
        assert_eq!((placed.mapped, placed.copied), (mapped, len - mapped), "at {offset}");
        assert!(place.bytes(offset, len) == payload, "at {offset}");
        assert_eq!(place.bytes(offset + len, 8), [0x44; 8], "what lies behind is touched");
        place.fill(offset, len, 0x55);
        assert!(*frozen.view().unwrap() == payload[..], "a receiver's write is seen by others");
        drop(placed.mapping);
        let left = if mapped > 0 { 0 } else { 0x55 };
        assert!(place.bytes(offset, mapped.max(1)).iter().all(|byte| *byte == left));
    }
}

#[test]
fn a_region_with_room_for_the_whole_file_is_mapped_without_a_copy_and_zero_behind_the_payload() {
    let len = 2 * HUGE + 3 * PAGE + 100;
    let payload = pattern(len);
    let frozen = frozen(&payload);
    for room in [len + PAGE, frozen.size()] {
        let place = Place::new(room);
        place.fill(0, room, 0x44);
        let mapped = frozen.map_into(place.range(0, room)).unwrap();
        assert_eq!((mapped.mapped(), mapped.copied()), (len, 0), "of {room}");
        let whole = room - room % PAGE;
        assert!(place.bytes(0, len) == payload, "of {room}");
        assert!(place.bytes(len, whole - len).iter().all(|byte| *byte == 0), "of {room}");
        assert!(place.bytes(whole, room - whole).iter().all(|byte| *byte == 0x44), "of {room}");
    }
}

#[test]
fn a_kernel_that_cannot_populate_copies() {
    let payload = pattern(5 * PAGE + 1);
    for room in [payload.len(), 6 * PAGE] {
        let place = Place::new(room);
        let old = |_: &Mapping| Err(Errno::INVAL);
        let placed = sealed(&frozen(&payload)).whole().map_with(place.range(0, room), old).unwrap();
        assert!(placed.mapping.is_none());
        assert_eq!((placed.mapped, placed.copied), (0, payload.len()));
        assert_eq!(place.bytes(0, payload.len()), payload);
    }
}

#[test]
fn a_page_that_cannot_be_had_is_an_error_and_leaves_fresh_memory() {
    let payload = pattern(5 * PAGE);
    let place = Place::new(payload.len());
    let poisoned = |_: &Mapping| Err(Errno::FAULT);
    let error = sealed(&frozen(&payload)).whole().map_with(place.range(0, payload.len()), poisoned).err();
    assert_eq!(error, Some(Errno::FAULT));
    assert_eq!(place.bytes(0, payload.len()), vec![0; payload.len()]);
}

#[test]
fn mappings_do_not_grow_with_the_number_of_payloads() {
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let place = Place::new(4 * HUGE);
    let frozen = frozen(&pattern(HUGE + 5));
    let before = mappings();
    for _ in 0..300 {
        drop(Buffer::over(place.range(2 * HUGE, PAGE)).unwrap().freeze(PAGE).unwrap());
        drop(sealed(&frozen).map_into(place.range(PAGE, frozen.len())).unwrap());
    }
    // Other tests run in threads of this process.
    assert!(mappings() < before + 150, "{before} mappings became {}", mappings());
}

#[test]
fn a_pool_serves_what_was_prepared_once() {
    let mut pool = Pool::new(4 * HUGE);
    assert!(pool.prepare(HUGE + 1).unwrap());
    assert!(pool.prepare(HUGE + 1).unwrap(), "one waits already");
    assert_eq!(pool.bytes(), 2 * HUGE);
    assert!(!pool.prepare(100 * HUGE).unwrap(), "beyond the bound");
    assert!(!pool.prepare(0).unwrap());
    assert_eq!(pool.take(2 * HUGE).unwrap().capacity(), 2 * HUGE);
    assert_eq!(pool.take(2 * HUGE).unwrap().capacity(), 2 * HUGE);
    assert_eq!((pool.taken(), pool.bytes()), ((1, 1), 0));
    // One that is much too large is left for others.
    pool.prepare(4 * HUGE).unwrap();
    assert_eq!(pool.take(PAGE).unwrap().capacity(), PAGE);
}

#[test]
fn what_waits_in_a_pool_is_taken_and_nothing_made_where_that_is_asked_for() {
    let mut pool = Pool::new(4 * HUGE);
    assert!(pool.take_ready(2 * HUGE).unwrap().is_none());
    pool.prepare(2 * HUGE).unwrap();
    assert!(pool.take_ready(2 * HUGE).unwrap().is_some());
    assert_eq!(pool.taken(), (1, 0));
}

/// A memfd of `size` bytes of memory, with `seals`.
fn memfd(size: usize, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&file, &vec![1; size], 0).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

/// Every way in which a descriptor is not what it should be, for a payload of `len` bytes, below a huge page: each with what
/// is said of it.
pub(crate) fn frauds(len: usize) -> Vec<(OwnedFd, &'static str)> {
    let size = size_of(len).unwrap();
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    let mut frauds = vec![
        (memfd(size, SealFlags::empty()), "a memfd that is not sealed"),
        (memfd(size, all - SealFlags::WRITE), "a memfd that is not sealed"),
        (memfd(size, all - SealFlags::SHRINK), "a memfd that is not sealed"),
        (memfd(size, all - SealFlags::GROW), "a memfd that is not sealed"),
        (memfd(size, all - SealFlags::SEAL), "a memfd that is not sealed"),
        (memfd(size, (all - SealFlags::WRITE) | SealFlags::FUTURE_WRITE), "a memfd that is not sealed"),
        (memfd(size - PAGE, all), "a memfd of another size than its frame's"),
        (memfd(size + PAGE, all), "a memfd of another size than its frame's"),
        (memfd(len, all), "a memfd of another size than its frame's"),
        (rustix::pipe::pipe().unwrap().0, "a descriptor that is no memfd"),
        (std::fs::File::open("/dev/null").unwrap().into(), "a descriptor that is no memfd"),
        (std::fs::File::open("/").unwrap().into(), "a descriptor that is no memfd"),
    ];
    // Sealed while it is written through nobody's mapping, and of the right size, but shrunk before that.
    let shrunk = memfd(2 * size, SealFlags::empty());
    ftruncate(&shrunk, PAGE as u64).unwrap();
    fcntl_add_seals(&shrunk, all).unwrap();
    frauds.push((shrunk, "a memfd of another size than its frame's"));
    let empty = |size: u64| {
        let file = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, size).unwrap();
        fcntl_add_seals(&file, all).unwrap();
        file
    };
    frauds.push((empty(size as u64), "a memfd with holes"));
    frauds.push((empty(1 << 40), "a memfd of another size than its frame's"));
    let huge = MemfdFlags::HUGETLB | MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    match memfd_create("test", huge) {
        Ok(file) => {
            fcntl_add_seals(&file, all).unwrap();
            frauds.push((file, "a memfd of another kind of pages"));
        }
        Err(e) => println!("SKIPPED: a memfd of MFD_HUGETLB: {e}"),
    }
    frauds
}

#[test]
fn whatever_is_not_sealed_memory_of_the_right_size_is_refused_by_name() {
    let len = 3 * PAGE - 1;
    for (descriptor, what) in frauds(len) {
        assert_eq!(Sealed::check(descriptor, len).unwrap_err(), what);
    }
    let file = frozen(&pattern(len));
    for wrong in [0, 1, len + 2, usize::MAX] {
        assert!(Sealed::check(rustix::io::dup(file.as_fd()).unwrap(), wrong).is_err(), "{wrong}");
    }
    sealed(&file);
}
