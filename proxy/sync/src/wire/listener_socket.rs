//! Addresses and sockets of a listener.

use std::mem::take;
use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_option::{SocketState, Value};
use envoy_types::pb::envoy::config::listener::v3 as wire;
use lateen_proxy_model::{BACKLOG, ListenSocket, NO_ADDRESS, Pipe, SocketOption, TcpKeepalive};

use super::at::{At, Refused, nothing_left};
use super::common::{flag, number, socket_address};

/// Socket settings of a listener; its addresses add to them.
pub(super) fn read(at: &At<'_>, message: &mut wire::Listener) -> Result<ListenSocket, Refused> {
    // Whom to drain: this proxy drains nobody for a failing health check, so both modes are one.
    message.drain_type = 0;
    if number(message.tcp_fast_open_queue_length.take()).unwrap_or(0) > 0 {
        return Err(at.field("tcp_fast_open_queue_length").unsupported());
    }
    let place = at.field("max_connections_to_accept_per_socket_event");
    let accepts = number(message.max_connections_to_accept_per_socket_event.take());
    if accepts == Some(0) {
        return Err(place.refuse("must be above 0"));
    }
    let older = take(&mut message.reuse_port);
    Ok(ListenSocket {
        transparent: flag(message.transparent.take(), false),
        freebind: flag(message.freebind.take(), false),
        reuse_port: flag(message.enable_reuse_port.take(), true) || older,
        backlog: number(message.tcp_backlog_size.take()).unwrap_or(BACKLOG),
        accepts,
        keepalive: message.tcp_keepalive.take().map(keepalive),
        dual_stack: Vec::new(),
        options: options(
            &at.field("socket_options"),
            take(&mut message.socket_options),
        )?,
        pipe: None,
        quic: None,
    })
}

/// The listener's own address.
pub(super) fn address(
    at: &At<'_>,
    address: Option<core::Address>,
    socket: &mut ListenSocket,
) -> Result<SocketAddr, Refused> {
    let at = at.field("address");
    if let Some(core::Address {
        address: Some(AddressKind::Pipe(pipe)),
    }) = address
    {
        let at = at.field("pipe");
        if pipe.path.is_empty() {
            return Err(at.field("path").refuse("missing"));
        }
        socket.pipe = Some(Pipe {
            path: pipe.path.into(),
            mode: pipe.mode,
        });
        return Ok(NO_ADDRESS);
    }
    bound(&at, address, socket)
}

/// Further addresses.
pub(super) fn additional(
    at: &At<'_>,
    addresses: Vec<wire::AdditionalAddress>,
    socket: &mut ListenSocket,
) -> Result<Vec<SocketAddr>, Refused> {
    let list = at.field("additional_addresses");
    addresses
        .into_iter()
        .enumerate()
        .map(|(index, mut one)| {
            let at = list.item(index);
            let address = bound(&at.field("address"), one.address.take(), socket)?;
            nothing_left(&at, &one)?;
            Ok(address)
        })
        .collect()
}

fn bound(
    at: &At<'_>,
    address: Option<core::Address>,
    socket: &mut ListenSocket,
) -> Result<SocketAddr, Refused> {
    let dual = matches!(
        &address,
        Some(core::Address { address: Some(AddressKind::SocketAddress(own)) }) if own.ipv4_compat
    );
    let address = socket_address(at, address)?;
    if dual && address.is_ipv6() {
        socket.dual_stack.push(address);
    }
    Ok(address)
}

fn keepalive(message: core::TcpKeepalive) -> TcpKeepalive {
    let seconds = |value| number(value).map(|value| Duration::from_secs(value.into()));
    TcpKeepalive {
        time: seconds(message.keepalive_time),
        interval: seconds(message.keepalive_interval),
        probes: number(message.keepalive_probes),
    }
}

/// Options that safe code can set; the others are refused by their numbers.
fn options(at: &At<'_>, options: Vec<core::SocketOption>) -> Result<Vec<SocketOption>, Refused> {
    options
        .into_iter()
        .enumerate()
        .map(|(index, option)| {
            let at = at.item(index);
            if !matches!(
                option.state(),
                SocketState::StatePrebind | SocketState::StateBound | SocketState::StateListening
            ) {
                return Err(at.field("state").refuse("no such state"));
            }
            if option.r#type.is_some() {
                return Err(at.field("type").unsupported());
            }
            let value = match option.value {
                Some(Value::IntValue(value)) => u32::try_from(value).ok(),
                Some(Value::BufValue(_)) => return Err(at.field("buf_value").unsupported()),
                None => None,
            };
            let value = value.ok_or_else(|| at.field("int_value").refuse("no such value"))?;
            known(option.level, option.name, value).ok_or_else(|| {
                let (level, name) = (option.level, option.name);
                at.refuse(format!("option {name} of level {level} is not supported"))
            })
        })
        .collect()
}

/// Numbers are those of Linux.
fn known(level: i64, name: i64, value: u32) -> Option<SocketOption> {
    const SOL_SOCKET: i64 = 1;
    const IPPROTO_IP: i64 = 0;
    const IPPROTO_TCP: i64 = 6;
    const IPPROTO_IPV6: i64 = 41;
    let on = value != 0;
    let seconds = Duration::from_secs(value.into());
    Some(match (level, name) {
        (SOL_SOCKET, 2) => SocketOption::ReuseAddress(on),
        (SOL_SOCKET, 7) => SocketOption::SendBuffer(value),
        (SOL_SOCKET, 8) => SocketOption::ReceiveBuffer(value),
        (SOL_SOCKET, 9) => SocketOption::KeepAlive(on),
        (SOL_SOCKET, 12) => SocketOption::Priority(value),
        (SOL_SOCKET, 15) => SocketOption::ReusePort(on),
        (SOL_SOCKET, 36) => SocketOption::Mark(value),
        (IPPROTO_IP, 1) => SocketOption::Tos(value),
        (IPPROTO_IP, 15) | (IPPROTO_IPV6, 78) => SocketOption::Freebind(on),
        (IPPROTO_IP, 19) | (IPPROTO_IPV6, 75) => SocketOption::Transparent(on),
        (IPPROTO_TCP, 1) => SocketOption::NoDelay(on),
        (IPPROTO_TCP, 4) => SocketOption::KeepIdle(seconds),
        (IPPROTO_TCP, 5) => SocketOption::KeepInterval(seconds),
        (IPPROTO_TCP, 6) => SocketOption::KeepProbes(value),
        (IPPROTO_TCP, 18) => SocketOption::UserTimeout(Duration::from_millis(value.into())),
        _ => return None,
    })
}
