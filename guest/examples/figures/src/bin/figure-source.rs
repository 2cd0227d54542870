//! `figure-source HOW WORK SIZE COUNT`: sends SIZE bytes COUNT times, and prints what each took until it was handled, in nanoseconds, one a
//! line. What fills the payload is not timed.
//!
//! With the work 4 it prints when it began to send, in nanoseconds since the epoch; the sink prints when it was called.
//!
//! HOW is `give` (a buffer of its own for each), `lend` (one slice again and again), `anew` (the same, every byte of which is written anew between two
//! sends, which takes some time), `call` (a slice, and its answer), `fan` (a slice to
//! all targets), `turns` (a slice to the next target each time), `fill` (a buffer is made and filled, nothing is sent), `fill-vec` (the same with
//! ordinary memory), or `million`: `give` with nothing printed but the total. With a last argument it waits, when it is `done`, until standard input ends. WORK is the number that the sink does its work by.

use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use roadrunner::Buffer;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, how, work, size, count, rest @ ..] = args.as_slice() else {
        eprintln!("figure-source HOW WORK SIZE COUNT [wait]");
        return ExitCode::FAILURE;
    };
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    match run(how, number(work) as u8, number(size), number(count)) {
        Ok(()) if rest.is_empty() => ExitCode::SUCCESS,
        Ok(()) => {
            println!("done");
            // Whatever ends it.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("figure-source: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(how: &str, work: u8, size: usize, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let targets = roadrunner::targets();
    let target = targets.first().ok_or("no target")?;
    match how {
        "give" => {
            for _ in 0..count {
                let buffer = filled(work, size);
                let (now, start) = (SystemTime::now(), Instant::now());
                buffer.send_to(target)?;
                let taken = start.elapsed().as_nanos();
                match work {
                    4 => println!("{}", now.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos()),
                    _ => println!("{taken}"),
                }
            }
        }
        "million" => {
            let start = Instant::now();
            for round in 0..count {
                let mut buffer = Buffer::with_capacity(size);
                buffer.push(&[work, round as u8]);

                buffer.resize(size);
                buffer.send_to(target)?;
            }
            println!("{}", start.elapsed().as_nanos());
        }
        "fill" | "fill-vec" => {
            for _ in 0..count {
                let start = Instant::now();
                if how == "fill" {
                    drop(filled(work, size));
                } else {
                    std::hint::black_box(vec![work.max(1); size]);
                }
                println!("{}", start.elapsed().as_nanos());
            }
        }
        _ => {
            let mut payload = filled(work, size);
            for round in 0..count {
                if how == "anew" {
                    rewrite(&mut payload, round as u8);
                }
                let start = Instant::now();
                match how {
                    "call" => drop(roadrunner::call(target, &payload)?),
                    "fan" => roadrunner::send(&payload)?,
                    "turns" => roadrunner::send_to(&targets[round % targets.len()], &payload)?,
                    _ => roadrunner::send_to(target, &payload)?,
                }
                println!("{}", start.elapsed().as_nanos());
            }
        }
    }
    Ok(())
}

/// Every page is touched, and the first byte is the sink's work.
fn filled(work: u8, size: usize) -> Buffer {
    let mut buffer = Buffer::with_capacity(size);
    let pattern = [work.max(1); 4096];
    while buffer.len() < size {
        let rest = (size - buffer.len()).min(pattern.len());
        buffer.push(&pattern[..rest]);
    }
    if let Some(first) = buffer.first_mut() {
        *first = work;
    }
    buffer
}

/// All but the first byte.
fn rewrite(payload: &mut [u8], round: u8) {
    for (index, byte) in payload.iter_mut().enumerate().skip(1) {
        *byte = (index as u8).wrapping_mul(31).rotate_left(3) ^ round;
    }
}
