//! Durations as text: Go's spelling in (`1h30m`, `250ms`, `1.5s`), proto JSON's out (`1.500s`).

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::schema::{Schema, Shape};
use super::value::Value;

const SECOND: i64 = 1_000_000_000;

/// A span of time in whole nanoseconds, up to about 292 years either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(i64);

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text has a number without a unit, or no number at all.
    #[error("`{0}` is not a duration: write a number with a unit, such as 1.5s, 250ms or 1h30m")]
    Malformed(String),
    /// The unit is not one of ns, us, ms, s, m, h.
    #[error("`{text}` is not a duration: unknown unit `{unit}` (ns, us, ms, s, m, h are known)")]
    Unit {
        /// The whole text.
        text: String,
        /// The unit that is not known.
        unit: String,
    },
    /// The duration does not fit (about 292 years).
    #[error("`{0}` is too long a duration")]
    Range(String),
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// So many milliseconds, at most what fits.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// So many seconds, at most what fits.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// The whole span in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The whole span in milliseconds, rounded towards zero.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0 / 1_000_000
    }

    /// The whole seconds, rounded towards zero.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0 / SECOND
    }

    /// The nanoseconds beyond the whole seconds, of the same sign as the span.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub const fn subsec_nanos(self) -> i32 {
        (self.0 % SECOND) as i32
    }

    /// The standard library's duration; a negative span gives zero.
    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Whether the span is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(span: std::time::Duration) -> Self {
        Self(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(malformed());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number_len = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_len);
            let unit_len = after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_len);
            total = total.saturating_add(part(text, number, unit)?);
            rest = next;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed)
            .map(Self)
            .map_err(|_| DurationError::Range(text.to_owned()))
    }
}

/// One number with its unit, in nanoseconds; digits beyond a nanosecond are cut.
fn part(text: &str, number: &str, unit: &str) -> Result<i128, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => i128::from(SECOND),
        "m" => 60 * i128::from(SECOND),
        "h" => 3600 * i128::from(SECOND),
        "" => return Err(malformed()),
        unit => {
            return Err(DurationError::Unit {
                text: text.to_owned(),
                unit: unit.to_owned(),
            });
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(malformed());
    }
    let too_long = || DurationError::Range(text.to_owned());
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().map_err(|_| too_long())?.into()
    };
    // 18 digits are far below a nanosecond even for hours.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let numerator: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u64>().map_err(|_| malformed())?.into()
    };
    let denominator = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(18));
    Ok(whole
        .saturating_mul(scale)
        .saturating_add(numerator * scale / denominator))
}

impl fmt::Display for Duration {
    /// Proto JSON's form: seconds with no, three, six or nine decimals and an `s`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        if self.0 < 0 {
            out.write_str("-")?;
        }
        if rest == 0 {
            write!(out, "{seconds}s")
        } else if rest.is_multiple_of(1_000_000) {
            write!(out, "{seconds}.{:03}s", rest / 1_000_000)
        } else if rest.is_multiple_of(1_000) {
            write!(out, "{seconds}.{:06}s", rest / 1_000)
        } else {
            write!(out, "{seconds}.{rest:09}s")
        }
    }
}

impl Value for Duration {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a duration such as 1.5s, 250ms or 1h30m")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        input.deserialize_str(Text)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }

    fn is_unset(&self) -> bool {
        self.is_zero()
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Duration)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        self.write(output)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::read(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them_and_written_as_proto_json() {
        for (text, nanos, written) in [
            ("1.5s", 1_500_000_000, "1.500s"),
            ("250ms", 250_000_000, "0.250s"),
            ("1h30m", 5_400_000_000_000, "5400s"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            (".5m", 30_000_000_000, "30s"),
            ("1.s", 1_000_000_000, "1s"),
            ("1us", 1_000, "0.000001s"),
            ("0.000000001s", 1, "0.000000001s"),
            ("-1.5s", -1_500_000_000, "-1.500s"),
            ("1.00000000000000000000001s", 1_000_000_000, "1s"),
        ] {
            let read: Duration = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(read.as_nanos(), nanos, "{text}");
            assert_eq!(read.to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("5", "number with a unit"),
            ("", "number with a unit"),
            ("s", "number with a unit"),
            ("1.2.3s", "number with a unit"),
            ("5 s", "unknown unit ` s`"),
            ("1d", "unknown unit `d`"),
            ("99999999999h", "too long"),
            ("99999999999999999999999s", "too long"),
        ] {
            let error = text.parse::<Duration>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
