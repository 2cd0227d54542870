//! Sizes and durations as people who run containers write them.
//!
//! [`bytes`] reads a Kubernetes quantity (`64Mi`, `1.5G`, `2e9`), [`duration`] a Go duration (`1m30s`, `500ms`).
//! Both are exact: they calculate in integers, and say what is wrong instead of rounding an overflow.
//!
//! Follows <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/> and Go's
//! `time.ParseDuration`; negative values are valid there and never valid here.

use std::time::Duration;

/// Why a text is not a size or a duration; a clause that follows the text in a message.
pub type Reason = &'static str;

const OVERFLOW: Reason = "is too large";

/// Reads a Kubernetes quantity as a number of bytes; a fraction of a byte is rounded up.
///
/// # Errors
///
/// What is wrong with the text.
pub fn bytes(text: &str) -> Result<u64, Reason> {
    let (number, suffix) = Decimal::split(text)?;
    let (up, down) = scale(suffix)?;
    let number = number.times(up).ok_or(OVERFLOW)?;
    let divisor = number.divisor.checked_mul(down).ok_or(OVERFLOW)?;
    u64::try_from(number.digits.div_ceil(divisor)).map_err(|_| OVERFLOW)
}

/// Reads memory as runc's command line takes it (`RAMInBytes` of docker's go-units): −1 for no limit, or a number with one of `b`, `k`, `m`, `g`, `t`, `p`, with or
/// without `b` or `ib` behind it, in either case, each 1,024 times the one before.
///
/// # Errors
///
/// What is wrong with the text.
pub fn ram(text: &str) -> Result<i64, Reason> {
    if text == "-1" {
        return Ok(-1);
    }
    let (number, unit) = Decimal::split(text)?;
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let prefix = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match prefix {
        "" if unit == "ib" => None,
        "" => Some(0),
        prefix => ["k", "m", "g", "t", "p"].iter().position(|name| *name == prefix).map(|at| at as u32 + 1),
    };
    let power = power.ok_or("has a unit that is none of b, k, m, g, t, p")?;
    let number = number.times(1 << (10 * power)).ok_or(OVERFLOW)?;
    i64::try_from(number.digits / number.divisor).map_err(|_| OVERFLOW)
}

/// Multiplier and divisor that a quantity's suffix stands for.
fn scale(suffix: &str) -> Result<(u128, u128), Reason> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    let position = |names: &[&str]| names.iter().position(|name| *name == suffix);
    if let Some(i) = position(&BINARY) {
        return Ok((1 << (10 * (i + 1)), 1));
    }
    if let Some(i) = DECIMAL.iter().position(|name| *name == suffix) {
        return Ok((1000_u128.pow(i as u32 + 1), 1));
    }
    if let Some(i) = position(&["m", "u", "n"]) {
        return Ok((1, 1000_u128.pow(i as u32 + 1)));
    }
    match suffix.strip_prefix(['e', 'E']) {
        Some(exponent) => power_of_ten(exponent),
        None if suffix.is_empty() => Ok((1, 1)),
        None => Err("has a unit that is none of Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E"),
    }
}

fn power_of_ten(exponent: &str) -> Result<(u128, u128), Reason> {
    const NOT_ONE: Reason = "has an exponent that is not a number";
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NOT_ONE);
    }
    let power = digits
        .parse()
        .ok()
        .and_then(|n| 10_u128.checked_pow(n))
        .ok_or("has an exponent that is too large")?;
    Ok(if exponent.starts_with('-') { (1, power) } else { (power, 1) })
}

/// Reads a Go duration.
///
/// # Errors
///
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, Reason> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    loop {
        let (number, tail) = Decimal::split(rest)?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let number = number.times(nanoseconds(unit)?).ok_or(OVERFLOW)?;
        total = total.checked_add(number.digits / number.divisor).ok_or(OVERFLOW)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    // Go's own bound: a duration is a signed number of nanoseconds.
    i64::try_from(total).map_or(Err(OVERFLOW), |n| Ok(Duration::from_nanos(n.unsigned_abs())))
}

fn nanoseconds(unit: &str) -> Result<u128, Reason> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "" => return Err("has no unit (ns, us, ms, s, m, h)"),
        _ => return Err("has a unit that is none of ns, us, ms, s, m, h"),
    })
}

/// A decimal number without sign, `digits / divisor`.
struct Decimal {
    digits: u128,
    divisor: u128,
}

impl Decimal {
    /// Takes a number from the front of `text`; gives back what follows it.
    fn split(text: &str) -> Result<(Self, &str), Reason> {
        match text.bytes().next() {
            None => return Err("is empty"),
            Some(b'-') => return Err("is negative"),
            Some(_) => {}
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err("does not begin with a number");
        }
        let mut digits: u128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = u128::from(digit - b'0');
            digits = digits.checked_mul(10).and_then(|n| n.checked_add(digit)).ok_or(OVERFLOW)?;
        }
        let places = u32::try_from(fraction.len()).map_err(|_| OVERFLOW)?;
        let divisor = 10_u128.checked_pow(places).ok_or("has too many decimal places")?;
        Ok((Self { digits, divisor }, rest))
    }

    fn times(self, factor: u128) -> Option<Self> {
        Some(Self { digits: self.digits.checked_mul(factor)?, ..self })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("1", 1),
            ("64Mi", 64 << 20),
            ("1G", 1_000_000_000),
            ("1k", 1000),
            ("1.5Gi", 3 << 29),
            (".5Ki", 512),
            ("1.", 1),
            ("1e3", 1000),
            ("2E3", 2000),
            ("1e-3", 1),
            ("1E", 1_000_000_000_000_000_000),
            ("15Ei", 15 << 60),
            ("1500m", 2),
            ("128974848000m", 128_974_848),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn memory_is_read_as_runc_reads_it() {
        for (text, value) in [
            ("-1", -1),
            ("0", 0),
            ("33554432", 33_554_432),
            ("50M", 50 << 20),
            ("1.5gib", 3 << 29),
            ("2 kB", 2048),
            ("7b", 7),
        ] {
            assert_eq!(ram(text), Ok(value), "{text}");
        }
        for text in ["", "-2", "M", "1x", "1ib", "9999999P", "1 MMB"] {
            assert!(ram(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("-1", "negative"),
            ("-0", "negative"),
            ("Mi", "begin with a number"),
            (".", "begin with a number"),
            ("1..2", "begin with a number"),
            ("+1", "begin with a number"),
            (" 1", "begin with a number"),
            ("1 Mi", "unit"),
            ("1MB", "unit"),
            ("1mi", "unit"),
            ("1K", "unit"),
            ("1e", "unit"),
            ("1ex", "exponent"),
            ("1e99", "exponent"),
            ("18446744073709551616", "too large"),
            ("16Ei", "too large"),
            ("99999999999999999999999999999999999999999999", "too large"),
            ("0.00000000000000000000000000000000000000001", "decimal places"),
            ("0x10", "unit"),
            ("１", "begin with a number"),
        ] {
            match bytes(text) {
                // "1e" is not an exponent without digits, and 'e' is no unit.
                Err(said) if text == "1e" => assert!(said.contains("exponent")),
                Err(said) => assert!(said.contains(reason), "{text}: {said}"),
                Ok(n) => panic!("{text} was read as {n}"),
            }
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, value) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("500ms", Duration::from_millis(500)),
            ("1m30s", Duration::from_secs(90)),
            ("1.5h", Duration::from_secs(5400)),
            ("1h0.5s", Duration::from_millis(3_600_500)),
            ("10us", Duration::from_micros(10)),
            ("10µs", Duration::from_micros(10)),
            ("9223372036854775807ns", Duration::from_nanos(i64::MAX.unsigned_abs())),
        ] {
            assert_eq!(duration(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("-1s", "negative"),
            ("30", "no unit"),
            ("1s ", "unit"),
            ("1d", "unit"),
            ("s", "begin with a number"),
            ("1s-2s", "unit"),
            ("9223372036854775808ns", "too large"),
            ("99999999999999999999999999999999999999999h", "too large"),
            ("3000000h", "too large"),
        ] {
            match duration(text) {
                Err(said) => assert!(said.contains(reason), "{text}: {said}"),
                Ok(d) => panic!("{text} was read as {d:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_is_read_with_a_panic(text in ".{0,40}") {
            let _ = bytes(&text);
            let _ = duration(&text);
        }

        #[test]
        fn texts_of_the_alphabet_are_read_without_a_panic(text in "[0-9.eEkKMGTPimnushµ+-]{0,48}") {
            let _ = bytes(&text);
            let _ = duration(&text);
        }

        #[test]
        fn a_number_of_bytes_reads_as_itself(n: u64) {
            prop_assert_eq!(bytes(&n.to_string()), Ok(n));
        }

        #[test]
        fn binary_suffixes_shift(n in 0_u64..1 << 20, i in 0_usize..4) {
            let suffix = ["Ki", "Mi", "Gi", "Ti"][i];
            prop_assert_eq!(bytes(&format!("{n}{suffix}")), Ok(n << (10 * (i + 1))));
        }

        #[test]
        fn parts_of_a_duration_add_up(h in 0_u64..1000, m in 0_u64..1000, ms in 0_u64..100_000) {
            let expected = Duration::from_secs(h * 3600 + m * 60) + Duration::from_millis(ms);
            prop_assert_eq!(duration(&format!("{h}h{m}m{ms}ms")).unwrap(), expected);
        }
    }
}
