//! HTTP/1.1 over one kept-alive connection on loopback, as well as it can be done: raw bodies with a
//! `Content-Length`, no copy that the stack does not need, Nagle's algorithm off.
//!
//! The receiving side answers a request only after its handler returned, as a receiver of a hose does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Sends a payload `count` times in turn over one connection, stamped anew each time, and returns how long each took
/// until it was handled.
///
/// # Errors
///
/// When the receiver is not there within ten seconds of the start, or answers anything but 200.
pub fn send(
    to: SocketAddr,
    payload: Vec<u8>,
    count: usize,
    stamp: impl Fn(&mut [u8]),
) -> Result<Vec<Duration>> {
    runtime()?.block_on(async {
        let stream = connect(to).await?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        let local = tokio::task::LocalSet::new();
        local.spawn_local(connection);
        local
            .run_until(async {
                let mut times = Vec::with_capacity(count);
                let mut bytes = Bytes::from(payload);
                for _ in 0..count {
                    let start = Instant::now();
                    // Ours alone again, once the last request is answered: no copy.
                    let mut payload = BytesMut::from(bytes);
                    stamp(&mut payload);
                    bytes = payload.freeze();
                    let request = Request::post("/").header("host", "sink").body(Full::new(bytes.clone()))?;
                    let answer = sender.send_request(request).await?;
                    let status = answer.status();
                    let text = answer.into_body().collect().await?.to_bytes();
                    times.push(start.elapsed());
                    ensure!(
                        status == StatusCode::OK,
                        "the receiver answered {status}: {}",
                        String::from_utf8_lossy(&text)
                    );
                }
                Ok(times)
            })
            .await
    })
}

/// Serves one connection: `handle` gets each body whole. Returns when the sender closes.
///
/// # Errors
///
/// When the address cannot be bound or the connection breaks.
pub fn serve(at: SocketAddr, mut handle: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind(at).await.with_context(|| format!("bind {at}"))?;
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handle = std::cell::RefCell::new(&mut handle);
        let service = hyper::service::service_fn(|request: Request<Incoming>| async {
            let body = collect(request.into_body()).await;
            let answer = match body.and_then(|body| (handle.borrow_mut())(&body)) {
                Ok(()) => Response::new(Full::new(Bytes::new())),
                Err(error) => {
                    let mut answer = Response::new(Full::new(Bytes::from(format!("{error:#}"))));
                    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    answer
                }
            };
            Ok::<_, Infallible>(answer)
        });
        server::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn connect(to: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(to).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("connect to {to}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// Gathers a body into one buffer whose size is known beforehand.
async fn collect(mut body: Incoming) -> Result<Bytes> {
    let size = body.size_hint().exact().context("a body without a Content-Length")?;
    let mut bytes = BytesMut::with_capacity(usize::try_from(size)?);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}
