//! A function of a workflow of pictures: a handler, named by its last argument. Its result goes to its targets, if it has any, in a buffer whose pages
//! change hands.

use std::cell::RefCell;
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use eval_pictures::{Frame, Worker};
use roadrunner::{Buffer, Input, Rejection};

roadrunner::handler!(handle);

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

fn handle(input: Input<'_>) -> Result<(), Rejection> {
    let arrived = eval::now();
    work(&input, arrived).map_err(|error| Rejection::new(NonZeroU32::MIN, format!("{error:#}")))
}

fn work(input: &[u8], arrived: u64) -> Result<()> {
    let frame = Frame::of(input)?;
    let mut output = WORKER.with_borrow_mut(|worker| {
        let worker = match worker {
            Some(worker) => worker,
            none => {
                let name = std::env::args().last().context("a function without a name")?;
                none.insert(Worker::new(&name, roadrunner::targets().is_empty())?)
            }
        };
        worker.work(&frame, arrived, Buffer::zeroed)
    })?;
    if let Some(frame) = output.frame.take() {
        frame.send().map_err(|unsent| anyhow::anyhow!("{unsent}"))?;
    }
    output.tell()
}
