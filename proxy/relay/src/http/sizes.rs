//! What a connection and a request cost in memory, held by a budget: a field too many, or a future that is moved instead
//! of boxed, fails here and not in a bench.

use std::mem::size_of;

use tokio::net::TcpStream;

use super::connection::Connection;
use super::exchange::Exchange;
use super::frames::FrameBudget;
use super::http1::{Guard, Signals};

#[test]
fn sizes_stay_within_their_budgets() {
    for (what, size, most) in [
        ("a connection", size_of::<Connection>(), 768),
        ("the guard of HTTP/1", size_of::<Guard<TcpStream>>(), 384),
        ("its signals", size_of::<Signals>(), 128),
        (
            "the budget of HTTP/2",
            size_of::<FrameBudget<TcpStream>>(),
            160,
        ),
        ("a request", size_of::<Exchange>(), 1024),
    ] {
        assert!(size <= most, "{what}: {size} bytes of {most}");
        // A budget much larger than needed holds nothing.
        assert!(size * 2 >= most, "{what}: {size} bytes of {most}");
    }
}
