//! Functions of a workflow of pictures over HTTP, and what all of them have to say of a picture.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use eval::sink::Form;
use eval_pictures::{Answers, Film, Frame, Road, Worker};
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::{Request, service};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::http::{Connection, answer, connect_to_all, gather, post_to_all, runtime};

/// The first function: it sends to each of `to`.
pub(crate) fn camera(form: Form, film: &Path, to: &[&str]) -> Result<()> {
    let film = Film::read(film)?;
    let runtime = runtime()?;
    let tasks = LocalSet::new();
    let connections = runtime.block_on(tasks.run_until(connect_to_all(to)))?;
    eval_pictures::follow(&mut Http { runtime, tasks, form, connections }, &film)
}

struct Http {
    runtime: tokio::runtime::Runtime,
    tasks: LocalSet,
    form: Form,
    connections: Vec<Connection>,
}

impl Road for Http {
    type Memory = Vec<u8>;

    fn allocate(&mut self, size: usize) -> Vec<u8> {
        vec![0; size]
    }

    fn send(&mut self, frame: Vec<u8>) -> Result<()> {
        let body = Bytes::from(Frame::serialize(self.form, frame)?);
        let connections = std::mem::take(&mut self.connections);
        self.connections = self.runtime.block_on(self.tasks.run_until(post_to_all(connections, &body)))?;
        Ok(())
    }
}

/// A function that so many others send to at `at`, and that sends what it makes to each of `to`; until they close.
pub(crate) fn worker(form: Form, name: &str, senders: usize, at: &str, to: &[&str]) -> Result<()> {
    let at: SocketAddr = at.parse().with_context(|| format!("address {at:?}"))?;
    let worker = RefCell::new(Worker::new(name, to.is_empty())?);
    runtime()?.block_on(LocalSet::new().run_until(async {
        let listener = TcpListener::bind(at).await.with_context(|| format!("bind {at}"))?;
        let connections = RefCell::new(connect_to_all(to).await?);
        let function = Rc::new(Function { form, worker, connections });
        eval::sink::ready()?;
        let mut served = Vec::new();
        for _ in 0..senders {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            served.push(tokio::task::spawn_local(Rc::clone(&function).serve(stream)));
        }
        for connection in served {
            connection.await??;
        }
        Ok(())
    }))
}

struct Function {
    form: Form,
    worker: RefCell<Worker>,
    connections: RefCell<Vec<Connection>>,
}

impl Function {
    async fn serve(self: Rc<Self>, stream: TcpStream) -> Result<()> {
        let buffer = RefCell::new(Vec::new());
        let service = service::service_fn(|request: Request<Incoming>| async {
            let mut body = buffer.take();
            let done = self.handle(request, &mut body).await;
            buffer.replace(body);
            Ok::<_, Infallible>(answer(done))
        });
        Ok(server::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
    }

    async fn handle(&self, request: Request<Incoming>, body: &mut Vec<u8>) -> Result<()> {
        let arrived = gather(request.into_body(), body).await?;
        let frame = Frame::parse(self.form, body)?;
        let mut output = self.worker.borrow_mut().work(&frame, arrived, |size| vec![0; size])?;
        if let Some(frame) = output.frame.take() {
            let body = Bytes::from(Frame::serialize(self.form, frame)?);
            let connections = post_to_all(self.connections.take(), &body).await?;
            self.connections.replace(connections);
        }
        output.tell()
    }
}

/// Answers each picture that is asked for with the lines of all functions, and `answered`.
pub(crate) fn answers(film: &Path, routes: &str) -> Result<()> {
    let mut answers = Answers::new(Film::read(film)?, routes)?;
    for line in std::io::stdin().lock().lines() {
        let lines = answers.of(&line.context("standard input")?.parse()?)?;
        std::io::stdout().write_all((lines + "answered\n").as_bytes()).context("standard output")?;
    }
    Ok(())
}
