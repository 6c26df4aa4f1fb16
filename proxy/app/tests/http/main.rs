//! Requests through the whole HTTP path, in process: real connections to a real upstream, the rooms as the proxy joins
//! them.

#[path = "../../src/http/request.rs"]
mod request;

mod mesh;

mod ends;
mod faults;
mod headers;
mod retries;
mod streams;
