//! Amounts of resources (`100m`, `1Gi`, `1e3`): whether a text is one, and the form that Kubernetes prints.

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// How an amount was written, which is how it is printed.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// The amount as Kubernetes prints it: `2000m` is `2`, `1024Mi` is `1Gi`.
///
/// # Errors
/// The reason in Kubernetes' words when the text is no amount.
pub(crate) fn canonical(text: &str) -> Result<String, &'static str> {
    let (nanos, form) = parse(text).ok_or("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")?;
    if nanos == 0 {
        return Ok("0".to_owned());
    }
    Ok(match form {
        Form::Binary if nanos.abs() >= 1024 * NANO => binary(nanos),
        Form::Exponent => {
            let (mantissa, exponent) = by_thousands(nanos, i32::MAX);
            if exponent == 0 {
                mantissa.to_string()
            } else {
                format!("{mantissa}e{exponent}")
            }
        }
        _ => {
            let (mantissa, exponent) = by_thousands(nanos, 18);
            let suffix = DECIMAL
                .iter()
                .find(|(_, power)| *power == exponent)
                .map_or("", |(suffix, _)| suffix);
            format!("{mantissa}{suffix}")
        }
    })
}

fn binary(nanos: i128) -> String {
    let mut whole = nanos.signum() * (nanos.abs() + NANO - 1).div_euclid(NANO);
    let mut suffix = "";
    for next in BINARY {
        if whole % 1024 != 0 {
            break;
        }
        whole /= 1024;
        suffix = next;
    }
    format!("{whole}{suffix}")
}

/// A mantissa without a factor of 1000 and its power of ten, from nanos.
fn by_thousands(nanos: i128, most: i32) -> (i128, i32) {
    let (mut mantissa, mut exponent) = (nanos, -9);
    while mantissa % 1000 == 0 && exponent < most {
        mantissa /= 1000;
        exponent += 3;
    }
    (mantissa, exponent)
}

fn parse(text: &str) -> Option<(i128, Form)> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (scale, divisor, form) = unit(suffix)?;
    // Digits beyond a nano of the smallest unit are beyond what Kubernetes keeps.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let digits = format!("{whole}{fraction}");
    let mantissa: i128 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    let below = 10_i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)?
        .checked_mul(divisor)?;
    let scaled = mantissa.checked_mul(scale)?;
    let rounded_up = scaled.checked_add(below - 1)?.div_euclid(below);
    Some((sign * rounded_up, form))
}

/// What a suffix means in nanos: multiply by the first, divide by the second.
fn unit(suffix: &str) -> Option<(i128, i128, Form)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((
            10_i128.checked_pow(u32::try_from(power + 9).ok()?)?,
            1,
            Form::Decimal,
        ));
    }
    if let Some(at) = BINARY.iter().position(|name| *name == suffix) {
        return Some((
            NANO.checked_mul(1024_i128.checked_pow(u32::try_from(at).ok()? + 1)?)?,
            1,
            Form::Binary,
        ));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    match u32::try_from(exponent) {
        Ok(power) => Some((
            NANO.checked_mul(10_i128.checked_pow(power)?)?,
            1,
            Form::Exponent,
        )),
        Err(_) => Some((
            NANO,
            10_i128.checked_pow(exponent.unsigned_abs())?,
            Form::Exponent,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_printed_as_kubernetes_prints_them() {
        for (given, printed) in [
            ("2000m", "2"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("128Mi", "128Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12E", "12E"),
            ("1000", "1k"),
            ("0", "0"),
            ("-1", "-1"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(printed), "{given}");
        }
    }

    #[test]
    fn other_texts_are_no_amounts() {
        for text in [
            "",
            "m",
            "1.2.3",
            "1 Gi",
            "1gi",
            "e3",
            "1e",
            "one",
            "99999999999999999999999999999999999999999Ei",
        ] {
            assert!(canonical(text).is_err(), "{text}");
        }
    }
}
