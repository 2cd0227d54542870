//! Over all sizes: what a payload takes between two containers of a host, and by address over loopback, until the receiver's handler has
//! read a byte of each page and the sender knows. `bench-output/unix.csv` and `tcp.csv`; `scripts/bench-docs` draws them.
//!
//! In nanoseconds, medians. Receivers run compiled, and interpreted; beside them is the bare baseline of `hose/examples/transfer.rs`, which
//! writes to a socket and reads from it, and touches the same pages.

use std::fmt::Write as _;
use std::fs;

use tests::{Case, Chain, Runtime, Way};

use crate::report::{median, workspace};
use crate::{example_guest, tcp, unix};

/// Bytes.
const SIZES: [u64; 13] = [
    1,
    64,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1_000_000,
    4 << 20,
    10_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
];

/// What the sink does: it touches each page.
const TOUCH: &str = "1";

pub(crate) fn measure(ours: &Runtime) {
    let case = Case::new(ours);
    for (way, file) in [(Way::Kernel, "unix.csv"), (Way::Network, "tcp.csv")] {
        let mut csv = String::from("size,given,lent,given_interpreted,bare\n");
        for size in SIZES {
            let count = if size > 10_000_000 { 5 } else { 31 };
            let bare = match way {
                Way::Network => tcp::bare_over_loopback(size, count),
                _ => unix::bare(size, "touch", count, None),
            };
            let times = |how, aot| median(&times(&case, way, how, size, count, aot));
            let (given, lent, interpreted) =
                (times("give", "wait"), times("lend", "wait"), times("give", "off"));
            let _ = writeln!(csv, "{size},{given},{lent},{interpreted},{}", median(&bare));
        }
        let folder = workspace().join("bench-output");
        fs::create_dir_all(&folder).expect("bench-output can be made");
        fs::write(folder.join(file), csv).expect("the curve can be written");
    }
}

/// Nanoseconds. The first ones connect, and are left out.
fn times(case: &Case, way: Way, how: &str, size: u64, count: usize, aot: &str) -> Vec<f64> {
    let [source, sink] = ["figure-source", "figure_sink"]
        .map(|name| fs::read(example_guest(name)).expect("the guest can be read"));
    let chain = Chain::new(case, way, &[&source, &sink]);
    let warm = 2;
    let (size, count) = (size.to_string(), (count + warm).to_string());
    chain.containers[0].args(["/module.wasm", how, TOUCH, &size, &count]);
    chain.containers[0].annotation("io.roadrunner.wasm/aot", "wait");
    chain.containers[1].annotation("io.roadrunner.wasm/aot", aot);
    let ended = chain.run();
    assert!(
        ended.iter().all(|out| out.code == 0),
        "{way:?} {how} {size}: {}{}",
        ended[0].stderr,
        ended[1].stderr
    );
    ended[0].stdout.lines().map(|line| line.parse().expect("a number")).skip(warm).collect()
}
