//! Log lines as runc writes them, which podman, conmon and containerd read.
//!
//! With `--log` lines are appended to the file, and an error also stands on standard error, alone and plain. Without it they all
//! go to standard error. A failed command logs exactly one error: podman takes a file of JSON for one object. So what else there
//! was to say is held back there until the command has succeeded; only with `--debug` it is written as it comes.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use anyhow::Context as _;
use chrono::{SecondsFormat, Utc};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::cli::{Global, LogFormat};

/// The open log.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<Mutex<File>>,
    json: bool,
    debug: bool,
    held: Mutex<String>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log that the command line asks for.
pub(crate) fn open(global: &Global) -> anyhow::Result<()> {
    let file = global.log.as_deref().map(append).transpose()?;
    let json = global.log_format == LogFormat::Json;
    let log = Log { file: file.map(Mutex::new), json, debug: global.debug, held: Mutex::default() };
    let _ = LOG.set(log);
    // A second one is refused, and there is none.
    let _ = tracing::subscriber::set_global_default(Lines);
    Ok(())
}

fn append(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("log {}: cannot be opened", path.display()))
}

/// Logs the error that ends the command.
pub(crate) fn error(message: &str) {
    match LOG.get() {
        Some(log) => {
            log.write("error", message);
            if log.file.is_some() {
                eprintln!("{message}");
            }
        }
        None => eprint!("{}", text("error", message)),
    }
}

/// Writes what was held back: the command has succeeded, and there is no error to be alone.
pub(crate) fn succeeded() {
    if let Some(log) = LOG.get()
        && let Ok(held) = log.held.lock()
        && !held.is_empty()
    {
        log.append(&held);
    }
}

impl Log {
    /// What is no error: see above for when it is written.
    fn remark(&self, level: &str, message: &str) {
        if self.json && self.file.is_some() && !self.debug {
            if let Ok(mut held) = self.held.lock() {
                held.push_str(&json(level, message));
            }
        } else {
            self.write(level, message);
        }
    }

    fn write(&self, level: &str, message: &str) {
        self.append(&if self.json { json(level, message) } else { text(level, message) });
    }

    fn append(&self, line: &str) {
        // There is nowhere to report a log to that cannot be written.
        let _ = match &self.file {
            Some(file) => file.lock().map_or(Ok(()), |mut file| file.write_all(line.as_bytes())),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn json(level: &str, message: &str) -> String {
    format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": now() }))
}

fn text(level: &str, message: &str) -> String {
    format!("time=\"{}\" level={level} msg={message:?}\n", now())
}

/// Turns events of the libraries into lines: our own warnings always, everything with `--debug`.
///
/// libcontainer logs an error and returns it too; without `--debug` only what is returned is shown.
struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("runtime") && *metadata.level() <= Level::WARN;
        ours || LOG.get().is_some_and(|log| log.debug && *metadata.level() <= Level::DEBUG)
    }

    /// What lies beyond it is passed over where it is said: libcontainer says much.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        let debug = LOG.get().is_some_and(|log| log.debug);
        Some(if debug { LevelFilter::DEBUG } else { LevelFilter::WARN })
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(log) = LOG.get() else { return };
        let level = match *event.metadata().level() {
            // What a library calls an error is returned, too, and then logged as the error that it is.
            Level::ERROR if event.metadata().target().starts_with("runtime") => "error",
            Level::ERROR | Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let mut words = Words::default();
        event.record(&mut words);
        log.remark(level, &format!("{}{}", words.message, words.fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
