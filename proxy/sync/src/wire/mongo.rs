//! The MongoDB proxy.

use std::mem::take;

use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;
use lateen_proxy_model::{MongoFilter, Percentage};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, fraction, must_be_off};
use super::ignored;

/// Commands that Envoy counts when nothing else is said.
const COMMANDS: [&str; 3] = ["delete", "insert", "update"];

/// Reads the settings.
pub(super) fn read(at: &At<'_>, mut message: MongoProxy) -> Result<MongoFilter, Refused> {
    ignored::mongo(&mut message);
    let stat_prefix = take(&mut message.stat_prefix);
    if stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").refuse("missing"));
    }
    let mut commands = take(&mut message.commands);
    if commands.is_empty() {
        commands = COMMANDS.map(str::to_owned).to_vec();
    }
    let delay = match message.delay.take() {
        None => None,
        Some(delay) => {
            let at = at.field("delay");
            let share = delay
                .percentage
                .map(|it| fraction(&at.field("percentage"), it));
            let share = share.transpose()?.unwrap_or(Percentage(0));
            match delay.fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(time)) => {
                    let time = duration(&at.field("fixed_delay"), Some(time))?;
                    time.map(|time| (share, time))
                }
                Some(FaultDelaySecifier::HeaderDelay(_)) => {
                    return Err(at
                        .field("header_delay")
                        .refuse("a connection has no headers"));
                }
                None => return Err(at.field("fixed_delay").refuse("missing")),
            }
        }
    };
    must_be_off(
        &at.field("access_log"),
        !take(&mut message.access_log).is_empty(),
    )?;
    must_be_off(
        &at.field("emit_dynamic_metadata"),
        take(&mut message.emit_dynamic_metadata),
    )?;
    nothing_left(at, &message)?;
    let commands = commands.into_iter().map(Into::into).collect();
    Ok(MongoFilter::new(stat_prefix.into(), commands, delay))
}
