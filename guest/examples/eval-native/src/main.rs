//! `eval-native source ROAD FORM ADDRESS...` and `eval-native sink ROAD FORM ADDRESS`: a function over one of the roads that native
//! programs take, until the sender is told of no more. FORM is `raw` or, over `http`, `json`.
//!
//! | road | address |
//! | --- | --- |
//! | `http`, `grpc` | IP:PORT |
//! | `unix`, `pipe`, `memory` | a folder that both share |

mod grpc;
mod http;
mod memory;
mod stream;

use std::path::Path;

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use eval::sink::Form;
use eval::source::Order;

/// Makes a payload in the memory of the last one, which is ours alone again once that was sent.
fn remake(payload: &mut Bytes, order: &Order) {
    let mut memory = BytesMut::from(std::mem::take(payload));
    memory.resize(order.size, 0);
    order.fill(&mut memory);
    *payload = memory.freeze();
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["source", "http", form, ref to @ ..] => http::source(Form::of(form)?, to),
        ["sink", "http", form, at] => http::sink(Form::of(form)?, at),
        ["source", "grpc", "raw", ref to @ ..] => grpc::source(to),
        ["sink", "grpc", "raw", at] => grpc::sink(at),
        ["source", "unix", "raw", folder] => stream::unix_source(Path::new(folder)),
        ["sink", "unix", "raw", folder] => stream::unix_sink(Path::new(folder)),
        ["source", "pipe", "raw", folder] => stream::pipe_source(Path::new(folder)),
        ["sink", "pipe", "raw", folder] => stream::pipe_sink(Path::new(folder)),
        ["source", "memory", "raw", folder] => memory::source(Path::new(folder)),
        ["sink", "memory", "raw", folder] => memory::sink(Path::new(folder)),
        _ => bail!("usage: eval-native source|sink ROAD FORM ADDRESS..."),
    }
}
