//! Timeouts that end a request before its retries are through.

use lateen_api::Duration;
use lateen_api::networking::HttpRetry;
use lateen_api::object::Kind;

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::TIMEOUT_SHORTER_THAN_RETRIES;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.RetryTimeoutAnalyzer",
    description: "Finds timeouts of routes that are shorter than what their retries may take",
    inputs: &[Input::Kind(Kind::VirtualService), Input::MeshConfig],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The base of the pause before a retry where none is given.
const BACKOFF: Duration = Duration::from_millis(25);

fn run(cluster: &Cluster, messages: &mut Messages) {
    let default = cluster.mesh.default_http_retry_policy.as_ref();
    for object in cluster.of(Kind::VirtualService) {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        for (index, rule) in routes.http.iter().enumerate() {
            let Some(timeout) = rule.timeout.filter(|timeout| timeout.as_nanos() > 0) else {
                continue;
            };
            let Some(retries) = rule.retries.as_ref().or(default) else {
                continue;
            };
            let Some(need) = Need::of(retries) else {
                continue;
            };
            if need.total > timeout {
                let text = format!(
                    "the timeout {timeout} of rule http[{index}] ends requests whose retries may take {}: {} tries (attempts {} and the \
                     first) of {} each and {} of pauses between them; raise the timeout, or lower attempts or perTryTimeout",
                    need.total, need.tries, retries.attempts, need.each, need.pauses
                );
                let field = format!("spec.http[{index}].timeout");
                messages.field(TIMEOUT_SHORTER_THAN_RETRIES, object, &field, text);
            }
        }
    }
}

/// The longest time that retries take.
struct Need {
    tries: i64,
    each: Duration,
    pauses: Duration,
    total: Duration,
}

impl Need {
    /// `None` where there are no retries, or where a try may take as long as the request.
    fn of(retries: &HttpRetry) -> Option<Self> {
        let each = retries.per_try_timeout.filter(|time| time.as_nanos() > 0)?;
        let attempts = i64::from(retries.attempts);
        if attempts < 1 {
            return None;
        }
        let tries = attempts + 1;
        let base = retries.backoff.unwrap_or(BACKOFF).as_nanos().max(0);
        let pauses = base.saturating_mul(pauses(attempts));
        let total = each.as_nanos().saturating_mul(tries).saturating_add(pauses);
        Some(Self {
            tries,
            each,
            pauses: Duration::from_nanos(pauses),
            total: Duration::from_nanos(total),
        })
    }
}

/// The pauses before all retries at their longest, in multiples of the base: 1, 3, 7 and from then on 10 times.
const fn pauses(retries: i64) -> i64 {
    match retries {
        ..1 => 0,
        1 => 1,
        2 => 4,
        3.. => (retries - 3).saturating_mul(10).saturating_add(11),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_times_the_base() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(pauses), [0, 1, 4, 11, 21, 31]);
        assert_eq!(pauses(i64::MAX), i64::MAX);
    }
}
