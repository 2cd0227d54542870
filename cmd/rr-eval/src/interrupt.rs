//! Ctrl-C: noted, and looked at between two waits, so that what was made is taken away on the ordinary road.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

/// Whether SIGINT, SIGTERM or SIGHUP came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over these signals.
    pub(crate) fn listen() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, interrupt.0.clone()).context("sigaction")?;
        }
        Ok(interrupt)
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails when one came.
    pub(crate) fn check(&self) -> Result<()> {
        if self.came() {
            bail!("interrupted; what was measured stays, and the same command does the rest")
        }
        Ok(())
    }
}
