//! What a plain scalar means: YAML 1.2's core schema, with the octal numbers that Kubernetes manifests are full of (`0644`).

/// A value without parts, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text, without quotes.
    pub text: String,
    /// Whether it is text whatever it looks like: quoted, a block, or tagged `!!str`.
    pub is_text: bool,
}

/// The meaning of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond `i64`.
    UInt(u64),
    /// A number with a fraction or an exponent, or beyond `u64`.
    Float(f64),
    /// Text.
    Text(&'a str),
}

/// What a scalar means.
pub(super) fn resolve(scalar: &Scalar) -> Resolved<'_> {
    let text = scalar.text.as_str();
    if scalar.is_text {
        return Resolved::Text(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
        "true" | "True" | "TRUE" => Resolved::Bool(true),
        "false" | "False" | "FALSE" => Resolved::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Resolved::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Resolved::Float(f64::NAN),
        _ => number(text).unwrap_or(Resolved::Text(text)),
    }
}

/// The booleans of YAML 1.1, which count only where a boolean is asked for.
pub(super) fn old_boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<Resolved<'_>> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        b'0'..=b'9' | b'.' => (false, text),
        _ => return None,
    };
    whole(negative, digits).or_else(|| fraction(text, digits))
}

fn whole(negative: bool, digits: &str) -> Option<Resolved<'static>> {
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        (8, octal)
    } else if digits.len() > 1
        && digits.starts_with('0')
        && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
    {
        (8, digits)
    } else {
        (10, digits)
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    let signed = if negative {
        i128::from(magnitude).checked_neg()?
    } else {
        i128::from(magnitude)
    };
    match (i64::try_from(signed), u64::try_from(signed)) {
        (Ok(int), _) => Some(Resolved::Int(int)),
        (_, Ok(uint)) => Some(Resolved::UInt(uint)),
        #[allow(clippy::cast_precision_loss)]
        _ => Some(Resolved::Float(signed as f64)),
    }
}

fn fraction<'a>(text: &'a str, digits: &str) -> Option<Resolved<'a>> {
    let mantissa_end = digits.find(['e', 'E']).unwrap_or(digits.len());
    let (mantissa, exponent) = digits.split_at(mantissa_end);
    let plain = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent
        .get(1..)
        .map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    let well_formed = plain(before)
        && plain(after)
        && !(before.is_empty() && after.is_empty())
        && exponent.is_none_or(|power| !power.is_empty() && plain(power));
    if !well_formed {
        return None;
    }
    text.parse().ok().map(Resolved::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        for (text, meaning) in [
            ("", Resolved::Null),
            ("~", Resolved::Null),
            ("true", Resolved::Bool(true)),
            ("yes", Resolved::Text("yes")),
            ("0644", Resolved::Int(420)),
            ("0o17", Resolved::Int(15)),
            ("0x1F", Resolved::Int(31)),
            ("089", Resolved::Int(89)),
            ("-12", Resolved::Int(-12)),
            ("18446744073709551615", Resolved::UInt(u64::MAX)),
            ("1.5", Resolved::Float(1.5)),
            ("1e3", Resolved::Float(1000.0)),
            (".5", Resolved::Float(0.5)),
            (".", Resolved::Text(".")),
            ("-", Resolved::Text("-")),
            ("1.2.3", Resolved::Text("1.2.3")),
            ("10.0.0.1", Resolved::Text("10.0.0.1")),
            ("1e", Resolved::Text("1e")),
            ("100m", Resolved::Text("100m")),
            ("+-1", Resolved::Text("+-1")),
            ("12:30", Resolved::Text("12:30")),
        ] {
            let scalar = Scalar {
                text: text.to_owned(),
                is_text: false,
            };
            assert_eq!(resolve(&scalar), meaning, "{text:?}");
        }
        assert_eq!(
            resolve(&Scalar {
                text: "true".to_owned(),
                is_text: true
            }),
            Resolved::Text("true")
        );
    }
}
