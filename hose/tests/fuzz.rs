//! Feeds every parser of hostile bytes with what it never expected: `make fuzz TIME=60`.
//!
//! No coverage is measured and no nightly compiler is needed: inputs are mutated, and those that are accepted are mutated further. Inputs of
//! `tests/corpus/TARGET/` are run first, always. One that panics is written there, so that it stays a test.
//!
//! `HOSE_FUZZ_SECONDS` is the time of each target; without it, a quarter of a second.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use hose::fuzz::{Target, targets};

/// A mutated input is no longer.
const MAX_LEN: usize = 4096;
/// Inputs that were accepted, kept for further mutation.
const MAX_KEPT: usize = 256;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn mutate(random: &mut Random, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool[random.below(pool.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        match random.below(8) {
            0 => input.truncate(at),
            1 => {
                let other = &pool[random.below(pool.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len())..]);
            }
            2 => input.insert(at, random.next() as u8),
            3 => {
                let part = input[at..input.len().min(at + 64)].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, part);
            }
            _ if input.is_empty() => input.push(random.next() as u8),
            4 => drop(input.remove(at)),
            5 => input[at] ^= 1 << random.below(8),
            6 => input[at] = [0, 1, 0x7f, 0x80, 0xff, b' ', b'\n', b'/'][random.below(8)],
            _ => {
                let value =
                    [0, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 63, 1 << 20, random.next()][random.below(8)];
                let bytes = value.to_le_bytes();
                let end = input.len().min(at + 8);
                input[at..end].copy_from_slice(&bytes[..end - at]);
            }
        }
    }
    input.truncate(MAX_LEN);
    input
}

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// Runs one input; one that panics is written into the corpus.
fn run(name: &str, target: Target, input: &[u8]) -> bool {
    match catch_unwind(|| target(input)) {
        Ok(accepted) => accepted,
        Err(_) => {
            let sum = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, b| {
                (sum ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
            });
            let path = corpus(name).join(format!("panic-{sum:016x}"));
            fs::create_dir_all(corpus(name)).unwrap();
            fs::write(&path, input).unwrap();
            panic!("{name} panics on {}", path.display());
        }
    }
}

#[test]
fn no_bytes_make_a_parser_panic() {
    let seconds = std::env::var("HOSE_FUZZ_SECONDS").ok().map_or(0.25, |text| text.parse().unwrap());
    let queue = Mutex::new(targets().into_iter());
    let next = || queue.lock().unwrap().next();
    // As many at a time as there are processors.
    thread::scope(|s| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some((name, target, pool)) = next() {
                    feed(name, target, pool, Duration::from_secs_f64(seconds));
                }
            });
        }
    });
}

fn feed(name: &str, target: Target, mut pool: Vec<Vec<u8>>, time: Duration) {
    for seed in &pool {
        assert!(run(name, target, seed), "{name} refuses its own seed {seed:02x?}");
    }
    for entry in fs::read_dir(corpus(name)).into_iter().flatten() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        run(name, target, &input);
        pool.push(input);
    }
    let mut random = Random(RandomState::new().build_hasher().finish() | 1);
    let (mut runs, mut accepted, end) = (0_u64, 0_u64, Instant::now() + time);
    while Instant::now() < end {
        let input = mutate(&mut random, &pool);
        runs += 1;
        if run(name, target, &input) {
            accepted += 1;
            let kept = if pool.len() < MAX_KEPT { pool.len() } else { random.below(MAX_KEPT) };
            if kept == pool.len() {
                pool.push(input);
            } else {
                pool[kept] = input;
            }
        }
    }
    println!("{name}: {runs} inputs, {accepted} accepted");
}
