//! Histograms as Envoy keeps them: bins of two significant digits, so that a quantile is off by a tenth at most and two
//! histograms add up exactly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lateen_proxy_model::OnUse;

/// Powers of ten that are told apart; what is larger counts as the largest.
const DECADES: usize = 11;
/// Bins of a power of ten: 10 to 99.
const BINS: usize = 90;

/// Quantiles that pages show, in percent.
pub const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// Counts of values; powers of ten that no value had take no memory.
#[derive(Debug, Default)]
pub(crate) struct LogLinear(OnUse<Counts>);

#[derive(Debug, Default)]
struct Counts {
    zero: AtomicU64,
    decades: [OnUse<Decade>; DECADES],
}

#[derive(Debug)]
struct Decade([AtomicU64; BINS]);

impl Default for Decade {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// One bin of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Least value.
    pub lower: f64,
    /// The next bin begins this far above.
    pub width: f64,
    /// Values in it.
    pub count: u64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Bins with values, in ascending order.
    pub bins: Vec<Bin>,
}

impl LogLinear {
    pub(crate) fn observe(&self, value: u64) {
        let Some(digits) = value.checked_ilog10() else {
            self.0.zero.fetch_add(1, Relaxed);
            return;
        };
        let leading = match digits {
            0 => value.saturating_mul(10),
            more => value / 10_u64.pow(more - 1),
        };
        let decade = usize::try_from(digits).unwrap_or(usize::MAX);
        let (decade, place) = match decade < DECADES {
            true => (decade, usize::try_from(leading).unwrap_or(10) - 10),
            false => (DECADES - 1, BINS - 1),
        };
        let bin = self.0.decades.get(decade).and_then(|it| it.0.get(place));
        if let Some(bin) = bin {
            bin.fetch_add(1, Relaxed);
        }
    }

    /// Forgets every value.
    pub(crate) fn reset(&self) {
        let Some(counts) = self.0.made() else {
            return;
        };
        counts.zero.store(0, Relaxed);
        for decade in counts.decades.iter().filter_map(OnUse::made) {
            decade.0.iter().for_each(|bin| bin.store(0, Relaxed));
        }
    }

    pub(crate) fn spread(&self) -> Spread {
        let mut spread = Spread::default();
        let Some(counts) = self.0.made() else {
            return spread;
        };
        spread.add(0.0, 0.0, &counts.zero);
        let mut unit = 0.1;
        for (decade, power) in counts.decades.iter().zip(0_u32..) {
            let known = decade.made();
            for (bin, leading) in known.iter().flat_map(|it| &it.0).zip(10_u32..) {
                let lower = match power {
                    0 => f64::from(leading) / 10.0,
                    _ => f64::from(leading) * unit,
                };
                spread.add(lower, unit, bin);
            }
            unit = 10_f64.powi(i32::try_from(power).unwrap_or_default());
        }
        spread
    }
}

impl Spread {
    fn add(&mut self, lower: f64, width: f64, count: &AtomicU64) {
        let count = count.load(Relaxed);
        if count > 0 {
            self.bins.push(Bin {
                lower,
                width,
                count,
            });
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bins
            .iter()
            .fold(0, |sum, bin| sum.saturating_add(bin.count))
    }

    /// The sum of all values, as far as bins tell.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "bins know values to a tenth")]
    pub fn sum(&self) -> f64 {
        let of = |bin: &Bin| {
            let upper = bin.lower + bin.width;
            // The middle that is off by the same factor from both ends.
            let middle = match bin.lower > 0.0 {
                true => 2.0 * bin.lower * upper / (bin.lower + upper),
                false => 0.0,
            };
            middle * bin.count as f64
        };
        self.bins.iter().map(of).sum()
    }

    /// Values up to `bound`; a bin that begins there counts whole.
    #[must_use]
    pub fn at_most(&self, bound: f64) -> u64 {
        let below = self.bins.iter().filter(|bin| bin.lower <= bound);
        below.fold(0, |sum, bin| sum.saturating_add(bin.count))
    }

    /// [`QUANTILES`]; `None` without values.
    #[must_use]
    pub fn quantiles(&self) -> Option<[f64; QUANTILES.len()]> {
        let count = self.count();
        (count > 0).then(|| QUANTILES.map(|percent| self.quantile(percent / 100.0, count)))
    }

    #[expect(clippy::cast_precision_loss, reason = "a rank may be rounded")]
    fn quantile(&self, share: f64, count: u64) -> f64 {
        let rank = (share * count as f64).ceil().max(1.0);
        let mut below = 0_u64;
        for bin in &self.bins {
            let place = rank - below as f64;
            if place <= bin.count as f64 {
                return bin.lower + bin.width * place / (bin.count as f64 + 1.0);
            }
            below = below.saturating_add(bin.count);
        }
        self.bins.last().map_or(0.0, |bin| bin.lower + bin.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[u64]) -> Spread {
        let histogram = LogLinear::default();
        values.iter().for_each(|value| histogram.observe(*value));
        histogram.spread()
    }

    /// Numbers that Envoy 1.40 shows for these values.
    #[test]
    fn quantiles_are_envoys() {
        let close = |values: &[u64], wanted: [f64; 10]| {
            let found = spread(values).quantiles().expect("values");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
            }
        };
        close(&[47], [47.5; 10]);
        close(&[0, 0], [0.0; 10]);
        let most = 1.075;
        close(
            &[1, 1, 1],
            [1.025, 1.025, 1.05, most, most, most, most, most, most, most],
        );
        let values = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 3, 16];
        let two = 2.0 + 0.1 / 3.0;
        close(
            &values,
            [0.0, 0.0, 0.0, two, 3.05, 16.5, 16.5, 16.5, 16.5, 16.5],
        );
        assert_eq!(spread(&[]).quantiles(), None);
    }

    #[test]
    fn sums_and_bounds_are_envoys() {
        assert!((spread(&[47]).sum() - 47.494_736_842_105_26).abs() < 1e-9);
        assert!((spread(&[1, 1, 1]).sum() - 3.142_857_142_857_143).abs() < 1e-9);
        let spread = spread(&[0, 1, 25, 1234, u64::MAX]);
        let bounds = [0.5, 1.0, 24.0, 25.0, 1200.0, 1e30];
        assert_eq!(
            bounds.map(|bound| spread.at_most(bound)),
            [1, 2, 2, 3, 4, 5]
        );
        let bins: Vec<(f64, f64)> = spread.bins.iter().map(|it| (it.lower, it.width)).collect();
        assert_eq!(
            bins[..4],
            [(0.0, 0.0), (1.0, 0.1), (25.0, 1.0), (1200.0, 100.0)]
        );
    }
}
