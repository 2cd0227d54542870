//! `fib [N [COUNT]]`: the Nth Fibonacci number (default: the 32nd), by naive recursion: pure computation, for measuring. It is
//! computed COUNT times (default: once), so that it can be told from the start of a process.

use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    functions::run(|| {
        let n = functions::argument_or(1, "which", 32)?;
        let count: u32 = functions::argument_or(2, "how often", 1)?;
        let mut result = 0;
        for _ in 0..count {
            result = black_box(fib(black_box(n)));
        }
        println!("{result}");
        Ok(())
    })
}

fn fib(n: u32) -> u64 {
    if n < 2 { n.into() } else { fib(n - 1) + fib(n - 2) }
}
