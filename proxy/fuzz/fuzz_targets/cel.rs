//! Expressions, compiled and evaluated.
#![no_main]

use lateen_proxy_model::cel::{Attribute, Attributes, Expression, Object, Value};
use libfuzzer_sys::fuzz_target;

struct Request<'a> {
    header: &'a str,
}

impl Object for Request<'_> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        (name == "a").then(|| Value::text(self.header))
    }

    fn len(&self) -> usize {
        1
    }
}

impl Attributes for Request<'_> {
    fn attribute(&self, which: Attribute) -> Option<Value<'_>> {
        Some(match which {
            Attribute::RequestPath => Value::text(self.header),
            Attribute::RequestHeaders => Value::Object(self),
            Attribute::RequestSize => Value::Int(i64::MAX),
            Attribute::RequestDuration => Value::Duration(1_500_000_000),
            Attribute::RequestTime => Value::Timestamp(1_767_323_045_067_000_000),
            Attribute::ResponseCode => Value::Int(503),
            Attribute::ConnectionMtls => Value::Bool(true),
            _ => return None,
        })
    }
}

fuzz_target!(|input: (&str, &str)| {
    let (source, header) = input;
    let Ok(expression) = Expression::compile(source) else {
        return;
    };
    let request = Request { header };
    let value = expression.value(&request);
    assert_eq!(
        expression.holds(&request),
        matches!(value, Ok(Value::Bool(true)))
    );
    let _ = (expression.text(&request), expression.request_headers());
});
