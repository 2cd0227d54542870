//! `eval-native source ROAD FORM ADDRESS...` and `eval-native sink ROAD FORM ADDRESS`: a function over one of the roads that native
//! programs take, until the sender is told of no more. FORM is `raw` or `json`, where a road knows both.
//!
//! | road | address |
//! | --- | --- |
//! | `http` | IP:PORT |

mod http;

use anyhow::{Result, bail};
use eval::sink::Form;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["source", "http", form, ref to @ ..] => http::source(Form::of(form)?, to),
        ["sink", "http", form, at] => http::sink(Form::of(form)?, at),
        _ => bail!("usage: eval-native source|sink ROAD FORM ADDRESS..."),
    }
}
