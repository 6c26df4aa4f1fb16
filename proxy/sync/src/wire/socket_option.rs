//! Options of upstream sockets: those that mean something for TCP on Linux, by their numbers.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::socket_option::{SocketState, Value};
use lateen_proxy_model::UpstreamOption;

use super::at::{At, Refused, nothing_left};

/// Reads the options; unknown ones are refused.
pub(super) fn read(
    at: &At<'_>,
    list: Vec<core::SocketOption>,
) -> Result<Vec<UpstreamOption>, Refused> {
    let one = |(index, one)| option(&at.item(index), one);
    list.into_iter().enumerate().map(one).collect()
}

fn option(at: &At<'_>, mut one: core::SocketOption) -> Result<UpstreamOption, Refused> {
    one.description.clear();
    if one.state() != SocketState::StatePrebind {
        return Err(at.field("state").refuse("only STATE_PREBIND is supported"));
    }
    let value = match one.value.take() {
        Some(Value::IntValue(value)) => value,
        Some(Value::BufValue(_)) => return Err(at.field("buf_value").unsupported()),
        None => return Err(at.refuse("no value")),
    };
    let (level, name) = (one.level, one.name);
    one.level = 0;
    one.name = 0;
    nothing_left(at, &one)?;
    let number = u32::try_from(value).map_err(|_| at.field("int_value").refuse("out of range"))?;
    // asm-generic/socket.h, linux/in.h, linux/in6.h and linux/tcp.h.
    Ok(match (level, name) {
        (1, 2) => UpstreamOption::ReuseAddress(value != 0),
        (1, 7) => UpstreamOption::SendBuffer(number),
        (1, 8) => UpstreamOption::ReceiveBuffer(number),
        (1, 9) => UpstreamOption::KeepAlive(value != 0),
        (1, 36) => UpstreamOption::Mark(number),
        (0, 1) | (41, 67) => UpstreamOption::Tos(number),
        (6, 1) => UpstreamOption::NoDelay(value != 0),
        (6, 18) => UpstreamOption::UserTimeout(number),
        _ => {
            let text = format!("option {name} of level {level} is not supported");
            return Err(at.refuse(text));
        }
    })
}
