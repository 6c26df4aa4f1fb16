//! Prints the CustomResourceDefinitions of Istio's kinds, which the chart `base` installs.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(lateen_api::crd::bundle().as_bytes())
}
