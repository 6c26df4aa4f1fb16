//! The standard functions.

use std::borrow::Cow;

use super::NoValue;
use super::value::Value;

/// A function; a method's object is its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Bool,
    Type,
    Dyn,
    Duration,
    Timestamp,
    LowerAscii,
    UpperAscii,
    Trim,
    Part(TimePart),
}

/// A part of a time, in UTC; of a duration, the whole of it in that unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimePart {
    Year,
    Month,
    DayOfMonth,
    Date,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

const NANOS: i128 = 1_000_000_000;
/// The longest text that a conversion or addition of one evaluation makes of literals stays small; this bounds the rest.
const MAX_TEXT: usize = 64 * 1024;

impl Function {
    pub(super) fn named(name: &str, arguments: usize) -> Option<Self> {
        let (function, wanted) = match name {
            "size" => (Self::Size, 1),
            "contains" => (Self::Contains, 2),
            "startsWith" => (Self::StartsWith, 2),
            "endsWith" => (Self::EndsWith, 2),
            "int" => (Self::Int, 1),
            "uint" => (Self::Uint, 1),
            "double" => (Self::Double, 1),
            "string" => (Self::Text, 1),
            "bytes" => (Self::Bytes, 1),
            "bool" => (Self::Bool, 1),
            "type" => (Self::Type, 1),
            "dyn" => (Self::Dyn, 1),
            "duration" => (Self::Duration, 1),
            "timestamp" => (Self::Timestamp, 1),
            "lowerAscii" => (Self::LowerAscii, 1),
            "upperAscii" => (Self::UpperAscii, 1),
            "trim" => (Self::Trim, 1),
            "getFullYear" => (Self::Part(TimePart::Year), 1),
            "getMonth" => (Self::Part(TimePart::Month), 1),
            "getDayOfMonth" => (Self::Part(TimePart::DayOfMonth), 1),
            "getDate" => (Self::Part(TimePart::Date), 1),
            "getDayOfWeek" => (Self::Part(TimePart::DayOfWeek), 1),
            "getDayOfYear" => (Self::Part(TimePart::DayOfYear), 1),
            "getHours" => (Self::Part(TimePart::Hours), 1),
            "getMinutes" => (Self::Part(TimePart::Minutes), 1),
            "getSeconds" => (Self::Part(TimePart::Seconds), 1),
            "getMilliseconds" => (Self::Part(TimePart::Milliseconds), 1),
            _ => return None,
        };
        (arguments == wanted).then_some(function)
    }

    pub(super) fn call<'a>(self, arguments: Vec<Value<'a>>) -> Result<Value<'a>, NoValue> {
        let mut arguments = arguments.into_iter();
        let first = arguments.next().ok_or(NoValue)?;
        let made = match (self, first, arguments.next()) {
            (Self::Size, value, _) => size(&value),
            (Self::Contains, Value::Text(a), Some(Value::Text(b))) => {
                Some(Value::Bool(a.contains(&*b)))
            }
            (Self::StartsWith, Value::Text(a), Some(Value::Text(b))) => {
                Some(Value::Bool(a.starts_with(&*b)))
            }
            (Self::EndsWith, Value::Text(a), Some(Value::Text(b))) => {
                Some(Value::Bool(a.ends_with(&*b)))
            }
            (Self::Int, value, _) => int(&value),
            (Self::Uint, value, _) => uint(&value),
            (Self::Double, value, _) => double(&value),
            (Self::Text, value, _) => text(value),
            (Self::Bytes, value, _) => bytes(value),
            (Self::Bool, value, _) => truth(&value),
            (Self::Type, value, _) => Some(Value::text(type_name(&value))),
            (Self::Dyn, value, _) => Some(value),
            (Self::Duration, value, _) => match value {
                Value::Text(text) => duration(&text).map(Value::Duration),
                Value::Duration(value) => Some(Value::Duration(value)),
                _ => None,
            },
            (Self::Timestamp, value, _) => match value {
                Value::Text(text) => timestamp(&text).map(Value::Timestamp),
                Value::Int(seconds) => Some(Value::Timestamp(i128::from(seconds) * NANOS)),
                Value::Timestamp(value) => Some(Value::Timestamp(value)),
                _ => None,
            },
            (Self::LowerAscii, Value::Text(text), _) => {
                Some(Value::Text(Cow::Owned(text.to_ascii_lowercase())))
            }
            (Self::UpperAscii, Value::Text(text), _) => {
                Some(Value::Text(Cow::Owned(text.to_ascii_uppercase())))
            }
            (Self::Trim, Value::Text(text), _) => {
                Some(Value::Text(Cow::Owned(text.trim().to_owned())))
            }
            (Self::Part(part), value, _) => part.of(&value),
            _ => None,
        };
        made.ok_or(NoValue)
    }
}

fn size<'a>(value: &Value<'_>) -> Option<Value<'a>> {
    let size = match value {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Object(object) => object.len(),
        _ => return None,
    };
    i64::try_from(size).ok().map(Value::Int)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before"
)]
fn int<'a>(value: &Value<'_>) -> Option<Value<'a>> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) if value.abs() < 9.2e18 => Some(*value as i64),
        Value::Text(text) => text.parse().ok(),
        Value::Timestamp(nanos) => i64::try_from(nanos.div_euclid(NANOS)).ok(),
        _ => None,
    }
    .map(Value::Int)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
fn uint<'a>(value: &Value<'_>) -> Option<Value<'a>> {
    match value {
        Value::Uint(value) => Some(*value),
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Double(value) if (0.0..1.8e19).contains(value) => Some(*value as u64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
    .map(Value::Uint)
}

#[expect(clippy::cast_precision_loss, reason = "what a conversion does")]
fn double<'a>(value: &Value<'_>) -> Option<Value<'a>> {
    match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
    .map(Value::Double)
}

fn text(value: Value<'_>) -> Option<Value<'_>> {
    match value {
        Value::Text(text) => Some(Value::Text(text)),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Object(_) => None,
        Value::Bytes(bytes) => match bytes {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Value::text),
            Cow::Owned(bytes) => String::from_utf8(bytes)
                .ok()
                .map(|text| Value::Text(Cow::Owned(text))),
        },
        value => value
            .to_text()
            .filter(|text| text.len() <= MAX_TEXT)
            .map(|text| Value::Text(Cow::Owned(text))),
    }
}

fn bytes(value: Value<'_>) -> Option<Value<'_>> {
    match value {
        Value::Bytes(bytes) => Some(Value::Bytes(bytes)),
        Value::Text(Cow::Borrowed(text)) => Some(Value::Bytes(Cow::Borrowed(text.as_bytes()))),
        Value::Text(Cow::Owned(text)) => Some(Value::Bytes(Cow::Owned(text.into_bytes()))),
        _ => None,
    }
}

fn truth<'a>(value: &Value<'_>) -> Option<Value<'a>> {
    match value {
        Value::Bool(value) => Some(Value::Bool(*value)),
        Value::Text(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null_type",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint",
        Value::Double(_) => "double",
        Value::Text(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Duration(_) => "google.protobuf.Duration",
        Value::Timestamp(_) => "google.protobuf.Timestamp",
        Value::List(_) => "list",
        Value::Map(_) | Value::Object(_) => "map",
    }
}

/// `1h2m3.5s`, `-5ms`.
fn duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let length = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(length);
        let (unit, factor) = [
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", NANOS),
            ("m", 60 * NANOS),
            ("h", 3600 * NANOS),
        ]
        .into_iter()
        .find(|(unit, _)| after.starts_with(unit))?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let part = part.get(..part.len().min(9))?;
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let fraction: i128 = if part.is_empty() {
            0
        } else {
            part.parse().ok()?
        };
        let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
        total = total
            .checked_add(whole.checked_mul(factor)?)?
            .checked_add(fraction.checked_mul(factor)? / scale)?;
        rest = after.get(unit.len()..)?;
    }
    Some(if negative { -total } else { total })
}

/// RFC 3339.
fn timestamp(text: &str) -> Option<i128> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if separators
        .iter()
        .any(|(at, sign)| bytes.get(*at) != Some(sign))
    {
        return None;
    }
    let days = days_of(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    let fraction = fraction.get(..fraction.len().min(9))?;
    let nanos: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<i128>().ok()? * 10_i128.pow(9 - u32::try_from(fraction.len()).ok()?)
    };
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let sign = match zone.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60)
        }
    };
    Some(i128::from(days * 86_400 + seconds - offset) * NANOS + nanos)
}

pub(super) fn timestamp_text(nanos: i128) -> String {
    let time = Civil::of(nanos);
    let part = nanos.rem_euclid(NANOS);
    let fraction = if part == 0 {
        String::new()
    } else {
        format!(".{part:09}").trim_end_matches('0').to_owned()
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        time.year,
        time.month,
        time.day,
        time.second_of_day / 3600,
        time.second_of_day / 60 % 60,
        time.second_of_day % 60
    )
}

/// A day of the calendar.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    days: i64,
    second_of_day: i64,
}

impl Civil {
    fn of(nanos: i128) -> Self {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).unwrap_or_default();
        let days = seconds.div_euclid(86_400);
        // Counted in eras of 400 years that begin in March, so that leap days come last.
        let shifted = days.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            days,
            second_of_day: seconds.rem_euclid(86_400),
        }
    }
}

/// Days since 1970.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

impl TimePart {
    fn of<'a>(self, value: &Value<'_>) -> Option<Value<'a>> {
        let part = match value {
            Value::Timestamp(nanos) => self.of_time(*nanos),
            Value::Duration(nanos) => self.of_duration(*nanos)?,
            _ => return None,
        };
        Some(Value::Int(part))
    }

    fn of_time(self, nanos: i128) -> i64 {
        let time = Civil::of(nanos);
        match self {
            Self::Year => time.year,
            Self::Month => time.month - 1,
            Self::DayOfMonth => time.day - 1,
            Self::Date => time.day,
            Self::DayOfWeek => (time.days + 4).rem_euclid(7),
            Self::DayOfYear => time.days - days_of(time.year, 1, 1).unwrap_or(time.days),
            Self::Hours => time.second_of_day / 3600,
            Self::Minutes => time.second_of_day / 60 % 60,
            Self::Seconds => time.second_of_day % 60,
            Self::Milliseconds => {
                i64::try_from(nanos.rem_euclid(NANOS) / 1_000_000).unwrap_or_default()
            }
        }
    }

    fn of_duration(self, nanos: i128) -> Option<i64> {
        let unit = match self {
            Self::Hours => 3600 * NANOS,
            Self::Minutes => 60 * NANOS,
            Self::Seconds => NANOS,
            Self::Milliseconds => return i64::try_from(nanos % NANOS / 1_000_000).ok(),
            _ => return None,
        };
        i64::try_from(nanos / unit).ok()
    }
}
