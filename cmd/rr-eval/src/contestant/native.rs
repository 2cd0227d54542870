//! Native functions in containers of runc: over HTTP, the paper's upper bound, and over the roads that a reader will ask about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Contestant, Function, Line, Placement, Recipe, Road, Workshop, over_http};
use crate::bundle::{Bundle, Network};

pub(super) fn all() -> Vec<Contestant> {
    let one = |name: &str, road, form| Contestant {
        name: name.to_owned(),
        main: road == "http",
        road: Road::Native { road, form },
    };
    vec![
        one("runc + HTTP, raw", "http", "raw"),
        one("runc + HTTP, JSON", "http", "json"),
        one("gRPC, raw", "grpc", "raw"),
        one("Unix socket", "unix", "raw"),
        one("pipe", "pipe", "raw"),
        one("shared memory", "memory", "raw"),
    ]
}

/// Whether a road reaches another host.
pub(super) fn crosses_hosts(road: &str) -> bool {
    matches!(road, "http" | "grpc")
}

/// Whether a road goes to several receivers.
pub(super) fn fans_out(road: &str) -> bool {
    crosses_hosts(road)
}

pub(super) fn line(
    road: &str,
    form: &str,
    workshop: &Workshop,
    placement: &Placement,
    fan_out: usize,
    tag: &str,
) -> Result<Line> {
    // What has no address meets in a folder.
    let shared = (!crosses_hosts(road)).then(|| workshop.folder.join(format!("shared-{tag}")));
    if let Some(folder) = &shared {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let addresses =
        if shared.is_some() { vec!["/shared".to_owned()] } else { placement.addresses(fan_out)? };
    let runtime = workshop.theirs("runc", workshop.peer.as_deref().context("runc is not installed")?);
    let plan =
        |side: &str, addresses: &[String], network: Network, shared: Option<PathBuf>| Recipe::Container {
            runtime: runtime.clone(),
            bundle: Box::new(Bundle {
                files: vec![(workshop.native.clone(), "function")],
                args: ["/function", side, road, form]
                    .into_iter()
                    .map(String::from)
                    .chain(addresses.to_vec())
                    .collect(),
                annotations: BTreeMap::new(),
                network: if shared.is_some() { Network::None } else { network },
                shared,
                ..Bundle::default()
            }),
        };
    let sink = |address: &String| {
        plan("sink", std::slice::from_ref(address), placement.sink_network(), shared.clone())
    };
    let mut programs: Vec<Recipe> = addresses.iter().map(sink).collect();
    programs.push(plan("source", &addresses, placement.source_network(), shared.clone()));
    Ok(Line { say_ready: addresses.len(), programs })
}

/// The functions of a workflow of pictures, on one node.
pub(super) fn workflow(form: &str, workshop: &Workshop, film: &Path, functions: &[Function]) -> Result<Line> {
    let runtime = workshop.theirs("runc", workshop.peer.as_deref().context("runc is not installed")?);
    let container = |args: Vec<String>, films: &[&Path]| {
        let mut files = vec![(workshop.native.clone(), "function")];
        files.extend(films.iter().map(|&film| (film.to_owned(), Function::FILM.trim_start_matches('/'))));
        let args = ["/function".to_owned()].into_iter().chain(args).collect();
        let bundle = Box::new(Bundle { files, args, network: Network::Host, ..Bundle::default() });
        Ok(Recipe::Container { runtime: runtime.clone(), bundle })
    };
    over_http(form, film, functions, container)
}
