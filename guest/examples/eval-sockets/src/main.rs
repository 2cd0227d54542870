//! `eval-sockets source FORM ADDRESS` and `eval-sockets sink FORM ADDRESS`: a function as WASI module that talks HTTP/1.1 over the
//! engine's sockets. The connection is kept, bodies have a `Content-Length`, and buffers are used again.
//!
//! `eval-sockets camera FORM FILM ADDRESS...` and `eval-sockets worker FORM NAME SENDERS ADDRESS TARGET...` are functions of a workflow of pictures
//! ([`eval_pictures`]).
//!
//! The engine's sockets block, and there is one thread: a sender to several receivers writes to one after the other, and then reads
//! their answers.

mod pictures;

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use eval::json;
use eval::sink::Form;
use eval::source::{Order, Road, Sent};
use wasmedge_wasi_socket::{Shutdown, TcpListener, TcpStream};

/// How long a sender waits for its receivers to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// A head of more bytes is refused.
const HEAD: usize = 4096;

/// Up to here a body travels with its head in one write.
const SMALL: usize = 64 * 1024;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["source", form, ref to @ ..] => source(Form::of(form)?, to),
        ["sink", form, at] => sink(Form::of(form)?, at),
        ["camera", form, film, ref to @ ..] => pictures::camera(Form::of(form)?, Path::new(film), to),
        ["worker", form, name, senders, at, ref to @ ..] => {
            pictures::worker(Form::of(form)?, name, senders.parse()?, at, to)
        }
        _ => bail!(
            "usage: eval-sockets source|sink FORM ADDRESS...|camera FORM FILM ADDRESS...|worker FORM NAME SENDERS ADDRESS TARGET..."
        ),
    }
}

fn source(form: Form, to: &[&str]) -> Result<()> {
    let mut http = Http { form, connections: connect_to_all(to)?, payload: Vec::new() };
    eval::source::follow(&mut http)?;
    close(&http.connections)
}

/// One connection to each.
fn connect_to_all(to: &[&str]) -> Result<Vec<Connection>> {
    to.iter().map(|address| connect(address)).collect()
}

fn close(connections: &[Connection]) -> Result<()> {
    connections.iter().try_for_each(|c| c.stream.shutdown(Shutdown::Both)).context("shutdown")
}

fn connect(to: &str) -> Result<Connection> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => return Ok(Connection { stream, read: Vec::new() }),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("connect to {to}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

struct Http {
    form: Form,
    connections: Vec<Connection>,
    payload: Vec<u8>,
}

impl Road for Http {
    fn fill(&mut self, order: &Order) -> Result<()> {
        order.make(&mut self.payload);
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let start = eval::now();
        let json;
        let body = match self.form {
            Form::Raw => &self.payload,
            Form::Json => {
                json = json::to_vec(&self.payload)?;
                &json
            }
        };
        let serialized = eval::now();
        post_to_all(&mut self.connections, body)?;
        Ok(Sent { start, serialized, end: eval::now() })
    }
}

/// Posts one body on all connections, and waits for all answers.
fn post_to_all(connections: &mut [Connection], body: &[u8]) -> Result<()> {
    let head = format!("POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: {}\r\n\r\n", body.len());
    for connection in connections.iter_mut() {
        connection.write(head.as_bytes(), body)?;
    }
    for connection in connections {
        let mut text = Vec::new();
        let status = connection.read(answer_head, &mut text)?.context("the receiver has closed")?;
        ensure!(status == 200, "the receiver answered {status}: {}", String::from_utf8_lossy(&text));
    }
    Ok(())
}

fn sink(form: Form, at: &str) -> Result<()> {
    let listener = TcpListener::bind(at, false).with_context(|| format!("bind {at}"))?;
    eval::sink::ready()?;
    let mut connection = accept(&listener)?;
    let mut body = Vec::new();
    while connection.read(request_head, &mut body)?.is_some() {
        connection.answer(form.receive(&body, eval::now()))?;
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> Result<Connection> {
    let (stream, _) = listener.accept(false).context("accept")?;
    Ok(Connection { stream, read: Vec::new() })
}

/// One end of a connection that is kept.
struct Connection {
    stream: TcpStream,
    /// What came behind the last message.
    read: Vec<u8>,
}

/// What stands in a head: its length, the first line's number (0 for a request), and how long its body is.
struct Head {
    length: usize,
    status: u16,
    body: usize,
}

impl Connection {
    fn write(&mut self, head: &[u8], body: &[u8]) -> Result<()> {
        if body.len() <= SMALL {
            return self.stream.write_all(&[head, body].concat()).context("write");
        }
        self.stream.write_all(head).and_then(|()| self.stream.write_all(body)).context("write")
    }

    /// Answers a request.
    fn answer(&mut self, done: Result<()>) -> Result<()> {
        let (line, text) = match done {
            Ok(()) => ("200 OK", String::new()),
            Err(error) => ("500 Internal Server Error", format!("{error:#}")),
        };
        let head = format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n", text.len());
        self.write(head.as_bytes(), text.as_bytes())
    }

    /// Reads a message, its body into `body`; gives its status, or nothing if the peer has closed.
    fn read(&mut self, parse: fn(&[u8]) -> Result<Option<Head>>, body: &mut Vec<u8>) -> Result<Option<u16>> {
        let head = loop {
            if let Some(head) = parse(&self.read)? {
                break head;
            }
            ensure!(self.read.len() < HEAD, "a head of more than {HEAD} bytes");
            let mut piece = [0; HEAD];
            match self.stream.read(&mut piece).context("read")? {
                0 if self.read.is_empty() => return Ok(None),
                0 => bail!("the peer closed in a head"),
                count => self.read.extend_from_slice(&piece[..count]),
            }
        };
        let behind = &self.read[head.length..];
        let here = behind.len().min(head.body);
        // No byte is set that is not overwritten, but those that the buffer gains.
        body.resize(head.body, 0);
        body[..here].copy_from_slice(&behind[..here]);
        self.read.drain(..head.length + here);
        self.stream.read_exact(&mut body[here..]).context("read")?;
        Ok(Some(head.status))
    }
}

fn request_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes).context("a request's head")? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            Ok(Some(Head { length, status: 0, body: body_length(request.headers)? }))
        }
    }
}

fn answer_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(bytes).context("an answer's head")? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            let status = answer.code.context("an answer without a status")?;
            Ok(Some(Head { length, status, body: body_length(answer.headers)? }))
        }
    }
}

fn body_length(headers: &[httparse::Header<'_>]) -> Result<usize> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let value = header.context("no Content-Length")?.value;
    std::str::from_utf8(value)?.parse().context("the Content-Length")
}
