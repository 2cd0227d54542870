//! All functions of a workflow in one process, without any road: what each of them has to say of a picture.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::camera::Picture;
use crate::film::Film;
use crate::frame::Frame;
use crate::worker::Worker;

/// Of one workflow and one film.
pub struct Answers {
    film: Film,
    first: Vec<String>,
    /// Each function, and whom it sends to.
    workers: BTreeMap<String, (Worker, Vec<String>)>,
}

impl Answers {
    /// Of functions as in the annotation `hose/routes`: `NAME=TARGET[+TARGET]…`, separated by commas; the first one is the camera.
    ///
    /// # Errors
    ///
    /// When that is none.
    pub fn new(film: Film, routes: &str) -> Result<Self> {
        let route = |text: &str| -> Result<(String, Vec<String>)> {
            let (name, targets) = text.split_once('=').with_context(|| format!("{text:?} is no route"))?;
            Ok((name.to_owned(), targets.split('+').map(str::to_owned).collect()))
        };
        let mut routes = routes.split(',').map(route).collect::<Result<Vec<_>>>()?.into_iter();
        let (_, first) = routes.next().context("no route")?;
        let mut targets: BTreeMap<String, Vec<String>> = routes.collect();
        let mut workers = BTreeMap::new();
        let mut ahead = first.clone();
        while let Some(name) = ahead.pop() {
            if workers.contains_key(&name) {
                continue;
            }
            let next = targets.remove(&name).unwrap_or_default();
            ahead.extend(next.iter().cloned());
            workers.insert(name.clone(), (Worker::new(&name, next.is_empty())?, next));
        }
        if let Some(name) = targets.keys().next() {
            bail!("nobody sends to {name:?}");
        }
        Ok(Self { film, first, workers })
    }

    /// The lines that all functions have to say, with times that mean nothing.
    ///
    /// # Errors
    ///
    /// When the picture cannot be decoded, or something not be done with it.
    pub fn of(&mut self, picture: &Picture) -> Result<String> {
        let frame = self.film.decode(picture.index, picture.seed, picture.check, |size| vec![0; size])?;
        let mut lines = String::new();
        let mut ahead: Vec<(String, Vec<u8>)> =
            self.first.iter().map(|name| (name.clone(), frame.clone())).collect();
        while let Some((name, bytes)) = ahead.pop() {
            let (worker, next) = self.workers.get_mut(&name).context("a route to nobody")?;
            let output = worker.work(&Frame::of(&bytes)?, eval::now(), |size| vec![0; size])?;
            lines += output.lines();
            if let Some(frame) = output.frame {
                ahead.extend(next.iter().map(|name| (name.clone(), frame.clone())));
            }
        }
        Ok(lines)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::film::tests::film;

    fn names(routes: &str, seed: u64) -> (BTreeSet<String>, String) {
        let mut answers = Answers::new(film(), routes).unwrap();
        let lines = answers.of(&Picture { index: 1, seed, check: false }).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let names = lines.lines().map(|line| words(line)[..2].join(" ")).collect();
        (names, lines.lines().map(|line| words(line)[6].clone()).collect())
    }

    #[test]
    fn each_function_of_a_workflow_answers() {
        let (chain, _) = names("a=tone,tone=edges,edges=hash", 1);
        assert_eq!(chain, ["got hash", "passed edges", "passed tone"].map(str::to_owned).into());
        let fan_in = "a=edges-0-of-2+edges-1-of-2,edges-0-of-2=collect,edges-1-of-2=collect";
        let (names, _) = names(fan_in, 1);
        let bands = ["passed edges-0-of-2", "passed edges-1-of-2", "passed collect/0", "passed collect/1"];
        assert_eq!(names, bands.iter().chain(&["got collect"]).map(|name| (*name).to_owned()).collect());
    }

    #[test]
    fn another_seed_has_other_answers() {
        let routes = "a=hash+classify";
        assert_ne!(names(routes, 1).1, names(routes, 2).1);
        assert_eq!(names(routes, 1).1, names(routes, 1).1);
    }

    #[test]
    fn what_is_no_workflow_is_refused() {
        for routes in ["", "a", "a=blur", "a=hash,tone=hash"] {
            assert!(Answers::new(film(), routes).is_err(), "{routes}");
        }
    }
}
