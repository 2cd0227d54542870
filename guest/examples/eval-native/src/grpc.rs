//! gRPC by tonic, raw: a message is the payload's bytes and nothing else, so that no protobuf is in the way. HTTP/2's windows are large enough
//! that no sender waits for them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::{Buf, BufMut, Bytes};
use eval::sink::Form;
use eval::source::{Order, Road, Sent};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::remake;

/// How long a sender waits for its receivers to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// HTTP/2's largest, nearly.
const WINDOW: u32 = 1 << 30;

/// HTTP/2's largest.
const FRAME: u32 = (1 << 24) - 1;

pub(crate) fn source(to: &[&str]) -> Result<()> {
    let runtime = runtime()?;
    let connect = |address: &&str| runtime.block_on(connect(address));
    let channels = to.iter().map(connect).collect::<Result<Vec<_>>>()?;
    eval::source::follow(&mut Grpc { runtime, channels, payload: Bytes::new() })
}

async fn connect(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .tcp_nodelay(true);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("connect to {address}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

struct Grpc {
    runtime: Runtime,
    channels: Vec<Channel>,
    payload: Bytes,
}

impl Road for Grpc {
    fn fill(&mut self, order: &Order) -> Result<()> {
        remake(&mut self.payload, order);
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let start = eval::now();
        let calls: Vec<_> = self
            .channels
            .iter()
            .map(|channel| self.runtime.spawn(call(channel.clone(), self.payload.clone())))
            .collect();
        for call in calls {
            self.runtime.block_on(call)??;
        }
        Ok(Sent { start, serialized: start, end: eval::now() })
    }
}

async fn call(channel: Channel, payload: Bytes) -> Result<()> {
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    client.ready().await.context("the channel")?;
    let path = http::uri::PathAndQuery::from_static("/eval.Sink/Put");
    client
        .unary(Request::new(payload), path, Raw)
        .await
        .map_err(|status| anyhow!("the receiver answered {status}"))?;
    Ok(())
}

/// The receiver, until its one sender closes.
pub(crate) fn sink(at: &str) -> Result<()> {
    let at: SocketAddr = at.parse().with_context(|| format!("address {at:?}"))?;
    runtime()?.block_on(async {
        let listener = TcpListener::bind(at).await.with_context(|| format!("bind {at}"))?;
        eval::sink::ready()?;
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let mut server = tonic::server::Grpc::new(Raw).max_decoding_message_size(usize::MAX);
            Ok::<_, Infallible>(server.unary(Put, request).await)
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME)
            .serve_connection(TokioIo::new(stream), service)
            .await?;
        Ok(())
    })
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The method: one message, and an empty one as answer.
struct Put;

impl Service<Request<Bytes>> for Put {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Status>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let done = Form::Raw.receive(request.get_ref(), eval::now());
        ready(match done {
            Ok(()) => Ok(Response::new(Bytes::new())),
            Err(error) => Err(Status::internal(format!("{error:#}"))),
        })
    }
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.len());
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
