//! `eval-hose-source give|lend`: the sender, to all of its targets. What is *given* is a buffer of its own for each transfer, whose
//! pages change hands where the hose can do that; what is *lent* is a slice of ordinary memory, which is the function's again afterwards.

use anyhow::{Context, Result, bail};
use eval::source::{Order, Road, Sent};
use roadrunner::Buffer;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("give") => eval::source::follow(&mut Give { ready: None }),
        Some("lend") => eval::source::follow(&mut Lend { payload: Vec::new() }),
        _ => bail!("usage: eval-hose-source give|lend"),
    }
}

struct Give {
    ready: Option<Buffer>,
}

impl Road for Give {
    fn fill(&mut self, order: &Order) -> Result<()> {
        let mut buffer = Buffer::with_capacity(order.size);
        buffer.resize(order.size);
        order.fill(&mut buffer);
        self.ready = Some(buffer);
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let buffer = self.ready.take().context("nothing was filled")?;
        let start = eval::now();
        buffer.send().map_err(|unsent| anyhow::anyhow!("{unsent}"))?;
        Ok(Sent { start, serialized: start, end: eval::now() })
    }
}

struct Lend {
    payload: Vec<u8>,
}

impl Road for Lend {
    fn fill(&mut self, order: &Order) -> Result<()> {
        order.make(&mut self.payload);
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let start = eval::now();
        roadrunner::send(&self.payload)?;
        Ok(Sent { start, serialized: start, end: eval::now() })
    }
}
