//! What the webhook says of objects, kind by kind.

mod values;
mod virtual_service;
