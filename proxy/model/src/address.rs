//! Addresses by the role they play in a connection, so that one cannot be passed for another.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub SocketAddr);

        impl $name {
            /// The IP part.
            pub fn ip(&self) -> IpAddr {
                self.0.ip()
            }

            /// The port part.
            pub fn port(&self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

role!(
    /// The address of the client's end of a downstream connection.
    ClientAddr
);
role!(
    /// The address of our end of a downstream connection, after redirection.
    LocalAddr
);
role!(
    /// The address the client meant to reach before the redirect rules changed it; the local address when nothing did.
    OriginalDst
);
