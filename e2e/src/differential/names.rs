//! A name server. It knows `*.test`, which is this machine; `two.test` has two addresses, of which nobody answers at the
//! first; `fails.` is a failure of the server, `mute.` gets no answer; nothing else exists.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Result;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

/// Time to live of every answer, seconds.
const TTL: u32 = 1;

/// Starts a server and gives its port.
pub(super) fn serve() -> Result<u16> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    let port = socket.local_addr()?.port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = buffer.get(..length).unwrap_or_default();
            let answer = Message::from_vec(question).ok().and_then(answer);
            if let Some(answer) = answer.and_then(|answer| answer.to_vec().ok()) {
                // What became of the asker is no error here.
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(port)
}

fn answer(mut message: Message) -> Option<Message> {
    let query = message.queries.first()?.clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    // Extensions of the question are not understood.
    message.edns = None;
    if name.starts_with("mute.") {
        return None;
    }
    if name.starts_with("fails.") {
        message.metadata.response_code = ResponseCode::ServFail;
    } else if !name.ends_with(".test.") {
        message.metadata.response_code = ResponseCode::NXDomain;
    } else if query.query_type() == RecordType::A {
        let one = RData::A(A(Ipv4Addr::LOCALHOST));
        message.add_answer(Record::from_rdata(query.name().clone(), TTL, one));
    }
    Some(message)
}
