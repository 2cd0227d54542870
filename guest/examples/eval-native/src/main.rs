//! `eval-native source ROAD FORM ADDRESS...` and `eval-native sink ROAD FORM ADDRESS`: a function over one of the roads that native
//! programs take, until the sender is told of no more. FORM is `raw` or, over `http`, `json`.
//!
//! | road | address |
//! | --- | --- |
//! | `http`, `grpc` | IP:PORT |
//! | `unix`, `pipe`, `memory` | a folder that both share |
//!
//! `eval-native camera FORM FILM ADDRESS...` and `eval-native worker FORM NAME SENDERS ADDRESS TARGET...`: functions of a workflow of pictures, over
//! `http`; and `eval-native answers FILM ROUTES`, which says what they have to say ([`eval_pictures`]).

mod grpc;
mod http;
mod memory;
mod pictures;
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
        ["camera", form, film, ref to @ ..] => pictures::camera(Form::of(form)?, Path::new(film), to),
        ["worker", form, name, senders, at, ref to @ ..] => {
            pictures::worker(Form::of(form)?, name, senders.parse()?, at, to)
        }
        ["answers", film, routes] => pictures::answers(Path::new(film), routes),
        _ => bail!(
            "usage: eval-native source|sink ROAD FORM ADDRESS...|camera FORM FILM ADDRESS...|worker FORM NAME SENDERS ADDRESS TARGET...|answers FILM ROUTES"
        ),
    }
}
