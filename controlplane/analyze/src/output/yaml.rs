//! A YAML list with a mapping a message.

use super::View;
use crate::message::Message;

pub(super) fn render(view: &View, messages: &[Message]) -> String {
    if messages.is_empty() {
        return "[]\n".to_owned();
    }
    lateen_api::yaml::to_text(&super::json::values(view, messages))
}
