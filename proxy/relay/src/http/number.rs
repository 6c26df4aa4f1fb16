//! Small numbers as header values without allocation.

use http::HeaderValue;

macro_rules! texts {
    ($($text:literal)*) => { [$(HeaderValue::from_static($text)),*] };
}

static SMALL: [HeaderValue; 32] = texts!(
    "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11" "12" "13" "14" "15"
    "16" "17" "18" "19" "20" "21" "22" "23" "24" "25" "26" "27" "28" "29" "30" "31"
);

/// `number` in decimal.
pub(crate) fn number(number: u128) -> HeaderValue {
    let small = usize::try_from(number)
        .ok()
        .and_then(|index| SMALL.get(index));
    match small {
        Some(known) => known.clone(),
        None => HeaderValue::from(u64::try_from(number).unwrap_or(u64::MAX)),
    }
}
