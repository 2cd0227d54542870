//! Functions of a workflow of pictures.

use std::path::Path;

use anyhow::{Context, Result};
use eval::sink::Form;
use eval_pictures::{Film, Frame, Road, Worker};
use wasmedge_wasi_socket::TcpListener;

use crate::{Connection, accept, close, connect_to_all, post_to_all, request_head};

/// The first function: it sends to each of `to`.
pub(crate) fn camera(form: Form, film: &Path, to: &[&str]) -> Result<()> {
    let film = Film::read(film)?;
    let mut http = Http { form, connections: connect_to_all(to)? };
    eval_pictures::follow(&mut http, &film)?;
    close(&http.connections)
}

struct Http {
    form: Form,
    connections: Vec<Connection>,
}

impl Road for Http {
    type Memory = Vec<u8>;

    fn allocate(&mut self, size: usize) -> Vec<u8> {
        vec![0; size]
    }

    fn send(&mut self, frame: Vec<u8>) -> Result<()> {
        post_to_all(&mut self.connections, &Frame::serialize(self.form, frame)?)
    }
}

/// A function that so many others send to at `at`, each as often as the others, and that sends what it makes to each of `to`; until they close.
pub(crate) fn worker(form: Form, name: &str, senders: usize, at: &str, to: &[&str]) -> Result<()> {
    let listener = TcpListener::bind(at, false).with_context(|| format!("bind {at}"))?;
    let mut worker = Worker::new(name, to.is_empty())?;
    let mut targets = connect_to_all(to)?;
    eval::sink::ready()?;
    let mut from = (0..senders).map(|_| accept(&listener)).collect::<Result<Vec<_>>>()?;
    let mut body = Vec::new();
    loop {
        for connection in &mut from {
            if connection.read(request_head, &mut body)?.is_none() {
                return close(&targets);
            }
            connection.answer(handle(form, &mut worker, &body, &mut targets))?;
        }
    }
}

fn handle(form: Form, worker: &mut Worker, body: &[u8], targets: &mut [Connection]) -> Result<()> {
    let arrived = eval::now();
    let frame = Frame::parse(form, body)?;
    let mut output = worker.work(&frame, arrived, |size| vec![0; size])?;
    if let Some(frame) = output.frame.take() {
        post_to_all(targets, &Frame::serialize(form, frame)?)?;
    }
    output.tell()
}
