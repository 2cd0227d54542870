//! What is believed of a workflow's account of a picture: all that has to be said, with receipts that only who has done the work can know, in an order
//! in which such things happen.

use std::collections::BTreeMap;

use super::workflow::Workflow;
use crate::protocol::Got;
use crate::referee::{Foul, WRONG_RECEIPT, in_order};
use crate::session::Shown;

/// The receipts that a picture's functions have to give, by their names.
pub(super) type Answers = BTreeMap<String, u128>;

/// What is believed, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    /// From before the picture was decoded until the last function was done.
    pub(super) whole: u64,
    /// Of that, along the way of the function that was done last: from when each function was done until the next one could read what it had made.
    pub(super) handed: u64,
    /// Until the camera knew.
    pub(super) end: u64,
}

/// Judges one account.
pub(super) fn judge(workflow: Workflow, shown: &Shown, answers: &Answers) -> Result<Times, Foul> {
    let said: BTreeMap<&str, &Got> = shown.said.iter().map(|got| (got.name.as_str(), got)).collect();
    let steps = workflow.steps();
    if let Some(stranger) = said.keys().find(|name| steps.iter().all(|step| step.name != **name)) {
        return Err(Foul(format!("{stranger:?} is no function of it")));
    }
    if said.len() != shown.said.len() {
        return Err(Foul("a function has said something twice".to_owned()));
    }
    let camera = &shown.sent;
    // When each was done, and how much of the time until then was spent on the way.
    let mut done: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for step in &steps {
        let got = said.get(step.name).ok_or_else(|| Foul(format!("{} has said nothing", step.name)))?;
        if answers.get(step.name) != Some(&got.receipt) {
            return Err(Foul(format!("{}: {WRONG_RECEIPT}", step.name)));
        }
        let before = step.after.iter().filter_map(|name| done.get(name)).max();
        let (sent, spent) = before.copied().unwrap_or((camera.serialized, 0));
        in_order(&[
            ("it was told to show a picture", shown.told),
            ("it began", camera.start),
            ("the picture was decoded", camera.serialized),
            ("its sender was done", sent),
            ("all had arrived", got.arrived),
            ("it could be read", got.parsed),
            ("a function was done", got.done),
            ("the camera knew", camera.end),
            ("it said so", shown.heard),
        ])?;
        done.insert(step.name, (got.done, spent + got.parsed - sent));
    }
    let (last, handed) =
        done.values().max().copied().ok_or_else(|| Foul("nobody has said anything".to_owned()))?;
    Ok(Times { whole: last - camera.start, handed, end: camera.end - camera.start })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::protocol::Sent;

    fn got(name: &str, arrived: u64, parsed: u64, done: u64) -> Got {
        Got { name: name.into(), length: 9, arrived, parsed, done, receipt: name.len() as u128 }
    }

    /// Each hand-over of the chain takes 10 and 5, each work 100.
    fn chain() -> Shown {
        Shown {
            told: 1,
            heard: 900,
            sent: Sent { start: 2, serialized: 102, end: 800 },
            said: vec![
                got("tone", 112, 117, 217),
                got("edges", 227, 232, 332),
                got("scale", 342, 347, 447),
                got("hash", 457, 462, 562),
            ],
            cpu: None,
        }
    }

    fn answers(workflow: Workflow) -> Answers {
        let steps = workflow.steps();
        steps.iter().map(|step| (step.name.to_owned(), step.name.len() as u128)).collect()
    }

    fn foul(change: impl FnOnce(&mut Shown)) -> String {
        let mut shown = chain();
        change(&mut shown);
        judge(Workflow::Chain, &shown, &answers(Workflow::Chain)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_handed_over_is_counted_along_a_chain() {
        let times = judge(Workflow::Chain, &chain(), &answers(Workflow::Chain)).unwrap();
        assert_eq!(times, Times { whole: 560, handed: 60, end: 798 });
    }

    #[test]
    fn of_several_ways_the_last_ones_counts() {
        let mut shown = chain();
        shown.said = Workflow::FanOut.steps().iter().map(|step| got(step.name, 110, 120, 200)).collect();
        shown.said[3] = got(&shown.said[3].name, 150, 160, 300);
        let times = judge(Workflow::FanOut, &shown, &answers(Workflow::FanOut)).unwrap();
        assert_eq!((times.whole, times.handed), (298, 58));
    }

    #[test]
    fn a_collector_has_waited_for_all() {
        let mut shown = chain();
        let times = |name: &str| match name.split_once('/') {
            Some((_, part)) => (210 + part.parse::<u64>().unwrap() * 10, 1),
            None if name == "collect" => (245, 0),
            None => (120, 5),
        };
        let said = |name: &str| {
            let (arrived, parsing) = times(name);
            got(name, arrived, arrived + parsing, arrived + parsing + 4)
        };
        shown.said = Workflow::FanIn.steps().iter().map(|step| said(step.name)).collect();
        let answers = answers(Workflow::FanIn);
        let believed = judge(Workflow::FanIn, &shown, &answers).unwrap();
        // To the band: 23; from it to the collector: 112; and it was looked at 0 later.
        assert_eq!((believed.whole, believed.handed), (247, 23 + 112));
        let whole = shown.said.last_mut().unwrap();
        (whole.arrived, whole.parsed) = (215, 215);
        assert!(judge(Workflow::FanIn, &shown, &answers).unwrap_err().to_string().contains("its sender"));
    }

    #[test]
    fn who_says_too_little_or_too_much_is_thrown_out() {
        assert!(foul(|shown| drop(shown.said.pop())).contains("hash has said nothing"));
        assert!(foul(|shown| shown.said.push(got("blur", 1, 2, 3))).contains("\"blur\""));
        assert!(foul(|shown| shown.said.push(got("hash", 1, 2, 3))).contains("twice"));
    }

    #[test]
    fn who_has_made_something_else_of_it_is_thrown_out() {
        assert!(foul(|shown| shown.said[1].receipt ^= 1).contains("edges: the receipt is wrong"));
    }

    #[test]
    fn an_impossible_order_is_not_believed() {
        assert!(foul(|shown| shown.said[1].arrived = 200).contains("its sender was done"));
        assert!(foul(|shown| shown.sent.end = 500).contains("the camera knew"));
        assert!(foul(|shown| shown.sent.start = 0).contains("it began"));
        assert!(foul(|shown| shown.said[3].done = 461).contains("a function was done"));
    }
}
