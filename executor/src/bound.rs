//! Ordinary programs at the ends of a hose: standard input and output that are payloads (`hose/stdin`, `hose/stdout`).
//!
//! | standard stream | is |
//! | --- | --- |
//! | a payload, or the answer to one | a file in memory ([`hose::sealed::Spool`]): read from its beginning, or sent once the program has ended well |
//! | a stream | a socket pair, with a thread behind it that takes or sends one piece after the other |
//!
//! The program does not know. What its sender is told is the program's exit code, or that it trapped. Serving, a program runs once for each
//! payload, in a new instance each time.
//!
//! Invariants: what a program that fails has written is not sent, and a stream of its is not ended but broken off; a payload is handled when
//! the program has ended *and* what it wrote was handled in turn; a stream that breaks off before its end is no end of file that
//! goes unnoticed: the process's exit code is 1.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use executor_abi::request::{Stdin, Stdout};
use guest_abi::Status;
use hose::sealed::{Contents, Spool};
use hose::{Incoming, Name, Receiver};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use crate::error::{Error, ErrorKind, Result};
use crate::host::{Hose, Host, chain};
use crate::outside::Outside;
use crate::process::{self, EXIT_LIMIT};
use crate::run::enter;
use crate::serve::{Kept, Serving};
use crate::statistics::Statistics;
use crate::vm::{Ended, Loaded, Vm};
use crate::wasi::Streams;
use crate::watch::Keeper as _;
use crate::workflow;

/// Bytes of the longest piece of a stream.
const PIECE: usize = 1 << 20;
/// Bytes of a pump's stack.
const STACK: usize = 1 << 20;
/// Exit code of a program that was not told of what befell its streams.
const EXIT_STREAM: i32 = 1;

/// What the standard streams of the container's own function are bound to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    pub(crate) stdin: Option<Stdin>,
    pub(crate) stdout: Option<Stdout>,
}

/// What the pumps of streams are made of.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    input: Option<Outside>,
    output: Option<Outside>,
}

impl Bound {
    /// Whether any of them is.
    pub(crate) fn is_any(self) -> bool {
        self.stdin.is_some() || self.stdout.is_some()
    }

    /// Divides the container's end among the function's thread, which comes first, and the pumps.
    pub(crate) fn divide(self, outside: Option<Outside>) -> Result<(Option<Outside>, Ends)> {
        let Some(outside) = outside else { return Ok((None, Ends::default())) };
        let output = (self.stdout == Some(Stdout::Stream)).then(|| outside.sending()).transpose()?;
        if self.stdin == Some(Stdin::Stream) {
            let own = outside.sending()?;
            return Ok((Some(own), Ends { input: Some(outside), output }));
        }
        Ok((Some(outside), Ends { input: None, output }))
    }
}

/// Runs the container's own function, once or for as long as it serves, and gives its exit code.
pub(crate) fn run(
    loaded: &Loaded,
    hose: &Hose,
    bound: Bound,
    ends: Ends,
    serving: Option<&Serving>,
) -> Result<i32> {
    let program = Program { loaded, hose, bound, serving };
    let receiver = hose.remote.as_ref().and_then(|remote| remote.receiver.as_ref());
    let code = match (bound.stdin, receiver) {
        (Some(Stdin::Payload), Some(receiver)) => program.run_for_payloads(receiver, ends.output),
        (Some(Stdin::Stream), _) => program.run_for_stream(ends),
        _ => program.run_with(rustix::stdio::stdin(), ends.output).map(|finished| finished.code),
    };
    if let Some(receiver) = receiver {
        receiver.borrow_mut().close();
    }
    code
}

/// A program, and what it is bound to.
struct Program<'a> {
    loaded: &'a Loaded,
    hose: &'a Hose,
    bound: Bound,
    serving: Option<&'a Serving>,
}

/// How a program ended, and what came of what it wrote.
struct Finished {
    code: i32,
    status: Status,
    answer: Option<Contents>,
}

impl Finished {
    fn with(code: i32, status: Status) -> Self {
        Self { code, status, answer: None }
    }
}

/// Where a program writes.
enum Output {
    Inherited,
    Spooled(Spool),
    Streamed(OutPump),
}

impl Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Inherited => rustix::stdio::stdout(),
            Self::Spooled(spool) => spool.as_fd(),
            Self::Streamed(pump) => pump.socket.as_fd(),
        }
    }
}

impl Program<'_> {
    /// One payload after the other is standard input; without serving, the first that comes whole.
    fn run_for_payloads(&self, receiver: &RefCell<Receiver>, mut output: Option<Outside>) -> Result<i32> {
        loop {
            let next = receiver.borrow_mut().next(None);
            let Some(incoming) = next.map_err(|error| Error::with(ErrorKind::System, "hose", error))? else {
                return Ok(0);
            };
            // A stream is bound to a function that runs once.
            if let Some(code) = self.run_for(receiver, incoming, output.take())?
                && self.serving.is_none()
            {
                return Ok(code);
            }
        }
    }

    /// Nothing for a payload that did not come whole.
    fn run_for(
        &self,
        receiver: &RefCell<Receiver>,
        incoming: Incoming,
        output: Option<Outside>,
    ) -> Result<Option<i32>> {
        let statistics = self.hose.statistics;
        let (since, before) = (statistics.now(), receiver.borrow().statistics());
        let (sender, unix) = (incoming.sender().clone(), incoming.is_unix());
        let received = Spool::receive(&mut receiver.borrow_mut(), incoming);
        let (held, spool) = match received {
            Ok(received) => received,
            Err(error) => {
                statistics.handled(&sender, unix, since, true);
                process::say(&format!("a payload of {sender} did not come whole: {}", chain(&error)));
                return Ok(None);
            }
        };
        statistics.received(&sender, [before, receiver.borrow().statistics()]);
        let finished = self.run_with(spool.as_fd(), output)?;
        let answer = finished.answer.as_ref().map(Contents::payload);
        let told = receiver.borrow_mut().handled(held, hose::Status(finished.status.0), answer);
        statistics.handled(&sender, unix, since, finished.status.is_host());
        let told = told.map_err(|error| process::say(&format!("{sender} was not told: {}", chain(&error))));
        // The verdict on what a program without targets has done is all that there is of it.
        Ok(Some(if told.is_err() && finished.code == 0 { EXIT_STREAM } else { finished.code }))
    }

    fn run_for_stream(&self, ends: Ends) -> Result<i32> {
        let Some(outside) = ends.input else { return Err(Error::new(ErrorKind::Request, "hose: no way in")) };
        let pump = InPump::start(outside, self.hose.statistics)?;
        let finished = self.run_with(pump.socket.as_fd(), ends.output)?;
        let came = pump.end();
        let broken = came.map_err(|why| process::say(&format!("standard input: {why}"))).is_err();
        Ok(if broken && finished.code == 0 { EXIT_STREAM } else { finished.code })
    }

    /// Runs it to its end, and sends what it has written, or has its answer ready.
    fn run_with(&self, input: BorrowedFd<'_>, stream: Option<Outside>) -> Result<Finished> {
        let output = match self.bound.stdout {
            None => Output::Inherited,
            Some(Stdout::Stream) => Output::Streamed(OutPump::start(stream, self.hose)?),
            Some(Stdout::Answer | Stdout::Payload) => {
                let max = usize::try_from(self.hose.max_size).unwrap_or(usize::MAX);
                let spool = Spool::with_room(max);
                Output::Spooled(spool.map_err(|error| Error::with(ErrorKind::System, "hose", error))?)
            }
        };
        let finished = self.run_between(Streams { input, output: output.as_fd() })?;
        let well = finished.code == 0;
        let sent = match output {
            Output::Inherited => Some(finished),
            Output::Streamed(pump) => pump.end(well).then_some(finished),
            Output::Spooled(_) if !well => Some(finished),
            Output::Spooled(spool) => self.send(spool, finished).map_err(|why| complain(&why)).ok(),
        };
        Ok(sent.unwrap_or(Finished::with(EXIT_STREAM, Status(EXIT_STREAM))))
    }

    fn send(&self, spool: Spool, finished: Finished) -> std::result::Result<Finished, String> {
        let contents = spool.finish().map_err(|error| chain(&error))?;
        let (len, max) = (contents.payload().len() as u64, self.hose.max_size);
        if len > max {
            return Err(format!("{len} bytes, the limit of a payload is {max}"));
        }
        if self.bound.stdout == Some(Stdout::Answer) {
            return Ok(Finished { answer: Some(contents), ..finished });
        }
        self.hose.send_to_all(contents.payload())?;
        Ok(finished)
    }

    /// Runs an instance of it between two streams.
    fn run_between(&self, streams: Streams<'_>) -> Result<Finished> {
        let host = Host::new(Some(self.hose.clone()), self.loaded.entry.contract);
        let cancellable = self.serving.is_some_and(|serving| serving.dog.is_some());
        let vm = match Vm::create(self.loaded, Rc::clone(&host), cancellable, streams)? {
            Ok(vm) => vm,
            Err(ended) => return Ok(self.ended(ended, false)),
        };
        let mut late = false;
        let entered = match self.serving {
            None => enter(self.loaded, &vm, &host, streams).map(|entered| {
                let pushes = self.bound.stdin.is_none() && host.pushes();
                entered.and_then(|()| if pushes { host.serve(&vm.guest()) } else { Ok(()) })
            }),
            Some(serving) => {
                let kept = Kept::new(&vm, serving);
                let entered = kept.keep(|| enter(self.loaded, &vm, &host, streams));
                late = kept.was_late();
                entered
            }
        };
        host.abandon();
        Ok(match entered? {
            Ok(()) => Finished::with(0, Status::OK),
            Err(stop) => self.ended(vm.ended(stop), late),
        })
    }

    fn ended(&self, ended: Ended, late: bool) -> Finished {
        match self.serving.filter(|_| late) {
            Some(serving) => {
                let (status, _) = workflow::fail(&serving.name, self.loaded, ended, late, serving.io_timeout);
                Finished::with(EXIT_LIMIT, status)
            }
            None => {
                let code = workflow::say(self.loaded, ended);
                Finished::with(code, if ended.is_exit() { Status(code) } else { Status::TRAPPED })
            }
        }
    }
}

/// Both ends of a stream within the process: the program's, and the pump's.
fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| Error::with(ErrorKind::System, "socketpair", io::Error::from(error)))
}

fn start<T: Send + 'static>(name: &str, pump: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(pump)
        .map_err(|error| Error::with(ErrorKind::System, format!("start the thread of {name}"), error))
}

/// Whether the program that a stream was for has ended.
static ENDED: AtomicBool = AtomicBool::new(false);

/// What comes as a stream is written to a program's standard input.
struct InPump {
    socket: OwnedFd,
    wake: OwnedFd,
    thread: JoinHandle<std::result::Result<(), String>>,
}

impl InPump {
    fn start(outside: Outside, statistics: Statistics) -> Result<Self> {
        let (socket, theirs) = pair()?;
        let failed = |call: &str, error| Error::with(ErrorKind::System, call.to_owned(), error);
        let wake = eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| failed("eventfd", io::Error::from(e)))?;
        let ended = wake.try_clone().map_err(|e| failed("dup", e))?;
        let thread = start("stdin", move || {
            let remote = outside.connect().map_err(|error| error.report())?;
            let Some(receiver) = remote.receiver else { return Ok(()) };
            let mut receiver = receiver.into_inner();
            receiver.stop_when(&ENDED, ended);
            let result = pump_in(&mut receiver, &theirs, statistics);
            // The end of the program's input, before anybody is told anything more.
            drop(theirs);
            receiver.close();
            result
        })?;
        Ok(Self { socket, wake, thread })
    }

    /// The program has ended: what comes now is refused. Whether the stream had come to its end, or was not wanted to.
    fn end(self) -> std::result::Result<(), String> {
        drop(self.socket);
        ENDED.store(true, Ordering::Relaxed);
        // A counter that is full can be read, too.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        self.thread.join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))
    }
}

fn pump_in(
    receiver: &mut Receiver,
    socket: &OwnedFd,
    statistics: Statistics,
) -> std::result::Result<(), String> {
    let mut streaming: Option<Name> = None;
    let mut piece = Vec::new();
    loop {
        let next = if streaming.is_some() { receiver.next_while_connected() } else { receiver.next(None) };
        let incoming = match (next.map_err(|error| chain(&error))?, &streaming) {
            (Some(incoming), _) => incoming,
            (None, _) if receiver.is_stopped() => return Ok(()),
            (None, Some(sender)) => return Err(format!("the stream of {sender} broke off before its end")),
            (None, None) => return Ok(()),
        };
        let sender = incoming.sender().clone();
        if streaming.as_ref().is_some_and(|streaming| *streaming != sender) {
            receiver.refuse(incoming);
            continue;
        }
        streaming = Some(sender.clone());
        let (since, before, unix) = (statistics.now(), receiver.statistics(), incoming.is_unix());
        piece.resize(incoming.len(), 0);
        let held = receiver.read_into(incoming, &mut piece).map_err(|error| chain(&error))?;
        statistics.received(&sender, [before, receiver.statistics()]);
        let written = write_all(socket, &piece);
        let status = if written.is_ok() { Status::OK } else { Status::REFUSED };
        let told = receiver.handled(held, hose::Status(status.0), None);
        statistics.handled(&sender, unix, since, written.is_err());
        if piece.is_empty() || written.is_err() {
            // The end; or the program has read as much as it wanted.
            return Ok(());
        }
        told.map_err(|error| chain(&error))?;
    }
}

/// Without SIGPIPE for a program that has closed its input.
fn write_all(socket: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a program writes to its standard output goes out as a stream.
struct OutPump {
    socket: OwnedFd,
    well: mpsc::Sender<bool>,
    /// Whether everything was handled.
    thread: JoinHandle<bool>,
}

impl OutPump {
    fn start(outside: Option<Outside>, hose: &Hose) -> Result<Self> {
        let (socket, theirs) = pair()?;
        let (well, ended_well) = mpsc::channel();
        let (local, targets) = (hose.local.clone(), Arc::clone(&hose.targets));
        let (max_size, statistics) = (hose.max_size, hose.statistics);
        let thread = start("stdout", move || {
            let remote = outside.map(Outside::connect).transpose().map_err(|error| error.report());
            let sent = remote.and_then(|remote| {
                let hose = Hose { local, remote: remote.map(Rc::new), targets, max_size, statistics };
                pump_out(&hose, &theirs, &ended_well)
            });
            // Said before the program meets it, which may be the end of the process.
            sent.map_err(|why| complain(&why)).is_ok()
        })?;
        Ok(Self { socket, well, thread })
    }

    /// The program has ended: the stream is, or is broken off. Whether everything was handled; if not, it was said why.
    fn end(self, well: bool) -> bool {
        // The pump may have ended.
        let _ = self.well.send(well);
        drop(self.socket);
        self.thread.join().unwrap_or(false)
    }
}

/// Says what became of standard output.
fn complain(why: &str) {
    process::say(&format!("standard output: {why}"));
}

fn pump_out(
    hose: &Hose,
    socket: &OwnedFd,
    ended_well: &mpsc::Receiver<bool>,
) -> std::result::Result<(), String> {
    let mut piece = vec![0; PIECE.min(usize::try_from(hose.max_size).unwrap_or(PIECE))];
    loop {
        match rustix::io::read(socket, &mut piece) {
            Ok(0) => break,
            Ok(read) => hose.send_to_all((&piece[..read]).into())?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    if ended_well.recv() == Ok(true) {
        return hose.send_to_all((&[][..]).into());
    }
    Ok(())
}
