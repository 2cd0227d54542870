//! The lines by which contestants and `rr-eval` talk. A contestant in any language that speaks them can take part.
//!
//! | to the sender | its answer |
//! | --- | --- |
//! | | `ready`, once, when its receivers are there |
//! | `fill SIZE WORK SEED` | `filled`: a payload ([`crate::payload`]) is in its memory |
//! | `send` | `sent START SERIALIZED END`: all its receivers have it and are done with it |
//! | `picture INDEX SEED WORK` | `sent START DONE END`: before the picture was decoded, when it was, and when all was done that became of it; only who takes part in workflows of pictures is asked |
//! | `pace SIZE WORK SEED RATE COUNT` | `paced START LATE...`: it has made COUNT calls, the first one due at START, RATE a second due after it, and each one's answer was there so late after it was due; only who takes part in warm calls is asked |
//!
//! | from each receiver | |
//! | --- | --- |
//! | `ready` | once, when a sender may come; those that are called by a host say nothing |
//! | `got NAME LENGTH ARRIVED PARSED DONE RECEIPT` | for each payload: how long it was, when it had come whole, when it could be read, when the work was done, and the receipt as hexadecimal number |
//! | `passed NAME LENGTH ARRIVED PARSED DONE RECEIPT` | the same of a function that has sent on what it made |
//! | `kept NAME RECEIPT DONE...` | once its sender has made all calls of a schedule, and asked for it: the receipt of all, and when the work with each was done |
//!
//! Times are the host's CLOCK_MONOTONIC in nanoseconds. WORK is a letter of [`Work`]. At the end of its standard input the sender ends, and its
//! receivers with it.

use anyhow::{Context, Result, bail};

/// What a receiver does with a payload before its clock stops.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
pub(crate) enum Work {
    /// A byte of each page, and the last byte, are read.
    #[serde(rename = "touch")]
    Touch,
    /// Every byte is read.
    #[serde(rename = "read")]
    Read,
    /// Every byte goes into a digest; no time counts.
    #[serde(rename = "check")]
    Check,
}

impl Work {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Touch => 't',
            Self::Read => 'r',
            Self::Check => 'c',
        }
    }
}

/// One transfer that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) work: Work,
    pub(crate) seed: u64,
}

impl Order {
    pub(crate) fn line(&self) -> String {
        format!("fill {} {} {}", self.size, self.work.letter(), self.seed)
    }
}

/// A line of a contestant.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Line {
    Ready,
    Filled,
    Sent(Sent),
    Got(Got),
    Passed(Got),
    Paced(Paced),
    Kept(Kept),
}

/// What a sender says of the calls of a schedule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Paced {
    pub(crate) start: u64,
    pub(crate) late: Vec<u64>,
}

/// What its receiver says of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Kept {
    pub(crate) receipt: u128,
    pub(crate) done: Vec<u64>,
}

/// What a sender says of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sent {
    pub(crate) start: u64,
    pub(crate) serialized: u64,
    pub(crate) end: u64,
}

/// What a receiver says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Got {
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) arrived: u64,
    pub(crate) parsed: u64,
    pub(crate) done: u64,
    pub(crate) receipt: u128,
}

impl std::str::FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let time = |text: &str| text.parse::<u64>().with_context(|| format!("{line:?}: {text:?}"));
        let times = |words: &[&str]| words.iter().map(|word| time(word)).collect::<Result<_>>();
        let number =
            |text: &str| u128::from_str_radix(text, 16).with_context(|| format!("{line:?}: its receipt"));
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ready"] => Ok(Self::Ready),
            ["filled"] => Ok(Self::Filled),
            ["sent", start, serialized, end] => {
                Ok(Self::Sent(Sent { start: time(start)?, serialized: time(serialized)?, end: time(end)? }))
            }
            [verb @ ("got" | "passed"), name, length, arrived, parsed, done, receipt] => {
                let got = Got {
                    name: name.to_owned(),
                    length: time(length)?,
                    arrived: time(arrived)?,
                    parsed: time(parsed)?,
                    done: time(done)?,
                    receipt: number(receipt)?,
                };
                Ok(if verb == "got" { Self::Got(got) } else { Self::Passed(got) })
            }
            ["paced", start, ref late @ ..] => {
                Ok(Self::Paced(Paced { start: time(start)?, late: times(late)? }))
            }
            ["kept", _, receipt, ref done @ ..] => {
                Ok(Self::Kept(Kept { receipt: number(receipt)?, done: times(done)? }))
            }
            _ => bail!("{line:?} is none of the lines that a contestant says"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_of_contestants_are_understood() {
        assert_eq!("ready".parse::<Line>().unwrap(), Line::Ready);
        assert_eq!(
            "sent 1 2 3".parse::<Line>().unwrap(),
            Line::Sent(Sent { start: 1, serialized: 2, end: 3 })
        );
        let Line::Got(got) = "got b0 5 1 2 3 00ff".parse::<Line>().unwrap() else { panic!("not got") };
        assert_eq!((got.name.as_str(), got.length, got.receipt), ("b0", 5, 255));
        assert!(matches!("passed b0 5 1 2 3 00ff".parse().unwrap(), Line::Passed(passed) if passed == got));
        assert_eq!(
            ["paced 1 2 3", "kept b0 ff 4"].map(|line| line.parse::<Line>().unwrap()),
            [
                Line::Paced(Paced { start: 1, late: vec![2, 3] }),
                Line::Kept(Kept { receipt: 255, done: vec![4] })
            ]
        );
    }

    #[test]
    fn other_lines_are_refused_by_their_text() {
        for line in [
            "",
            "sent 1 2",
            "sent 1 2 x",
            "got b 1 1 1 1 xyz",
            "got b 1 1 1 -1 00",
            "paced 1 x",
            "kept b xyz",
            "hello",
        ] {
            assert!(line.parse::<Line>().unwrap_err().to_string().contains(line), "{line:?}");
        }
    }
}
