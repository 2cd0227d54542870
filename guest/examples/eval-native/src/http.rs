//! HTTP/1.1 by hyper, as well as it can be done: connections are kept, bodies have a `Content-Length`, Nagle's algorithm is off, the sender's
//! body is not copied, and the receiver gathers a body in a buffer that it uses again. The receiver answers when its function is done.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use eval::json;
use eval::sink::Form;
use eval::source::{Order, Road, Sent};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::remake;

/// One that is kept.
pub(crate) type Connection = client::SendRequest<Full<Bytes>>;

/// How long a sender waits for its receivers to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sender: one connection to each of `to`.
pub(crate) fn source(form: Form, to: &[&str]) -> Result<()> {
    let runtime = runtime()?;
    let tasks = LocalSet::new();
    let connections = runtime.block_on(tasks.run_until(connect_to_all(to)))?;
    eval::source::follow(&mut Http { runtime, tasks, form, connections, payload: Bytes::new() })
}

struct Http {
    runtime: tokio::runtime::Runtime,
    tasks: LocalSet,
    form: Form,
    connections: Vec<Connection>,
    payload: Bytes,
}

impl Road for Http {
    fn fill(&mut self, order: &Order) -> Result<()> {
        remake(&mut self.payload, order);
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let start = eval::now();
        let body = match self.form {
            Form::Raw => self.payload.clone(),
            Form::Json => Bytes::from(json::to_vec(&self.payload)?),
        };
        let serialized = eval::now();
        let connections = std::mem::take(&mut self.connections);
        self.connections = self.runtime.block_on(self.tasks.run_until(post_to_all(connections, &body)))?;
        Ok(Sent { start, serialized, end: eval::now() })
    }
}

/// One connection to each.
pub(crate) async fn connect_to_all(to: &[&str]) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for address in to {
        let address = address.parse().with_context(|| format!("address {address:?}"))?;
        connections.push(connect(address).await?);
    }
    Ok(connections)
}

/// Posts one body on all connections at once, and gives them back.
pub(crate) async fn post_to_all(connections: Vec<Connection>, body: &Bytes) -> Result<Vec<Connection>> {
    let post = |mut connection: Connection| {
        let body = body.clone();
        tokio::task::spawn_local(async move {
            let request = Request::post("/").header("host", "sink").body(Full::new(body))?;
            let answer = connection.send_request(request).await?;
            let status = answer.status();
            let text = answer.into_body().collect().await?.to_bytes();
            ensure!(
                status == StatusCode::OK,
                "the receiver answered {status}: {}",
                String::from_utf8_lossy(&text)
            );
            connection.ready().await?;
            Ok(connection)
        })
    };
    let posts: Vec<_> = connections.into_iter().map(post).collect();
    let mut back = Vec::with_capacity(posts.len());
    for post in posts {
        back.push(post.await??);
    }
    Ok(back)
}

async fn connect(to: SocketAddr) -> Result<Connection> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match TcpStream::connect(to).await {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("connect to {to}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    stream.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// The receiver, until its one sender closes.
pub(crate) fn sink(form: Form, at: &str) -> Result<()> {
    let at: SocketAddr = at.parse().with_context(|| format!("address {at:?}"))?;
    runtime()?.block_on(async {
        let listener = TcpListener::bind(at).await.with_context(|| format!("bind {at}"))?;
        eval::sink::ready()?;
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let buffer = RefCell::new(Vec::new());
        let service = hyper::service::service_fn(|request: Request<Incoming>| async {
            let mut body = buffer.take();
            let done = match gather(request.into_body(), &mut body).await {
                Ok(arrived) => form.receive(&body, arrived),
                Err(error) => Err(error),
            };
            buffer.replace(body);
            Ok::<_, Infallible>(answer(done))
        });
        server::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
        Ok(())
    })
}

/// Puts a body whole into `buffer`; gives when it was there.
pub(crate) async fn gather(mut body: Incoming, buffer: &mut Vec<u8>) -> Result<u64> {
    let size = body.size_hint().exact().context("a body without a Content-Length")?;
    buffer.clear();
    buffer.reserve_exact(usize::try_from(size)?);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            buffer.extend_from_slice(&data);
        }
    }
    Ok(eval::now())
}

pub(crate) fn answer(done: Result<()>) -> Response<Full<Bytes>> {
    let text = done.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    if done.is_err() {
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    answer
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
