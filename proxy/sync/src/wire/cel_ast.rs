//! Expressions that come as syntax trees: written out as text again, so that there is one compiler.

use envoy_types::pb::google::api::expr::v1alpha1 as wire;
use envoy_types::pb::google::api::expr::v1alpha1::constant::ConstantKind;
use envoy_types::pb::google::api::expr::v1alpha1::expr::create_struct::entry::KeyKind;
use envoy_types::pb::google::api::expr::v1alpha1::expr::{Call, CreateStruct, ExprKind, Select};
use lateen_proxy_model::cel::Expression;

use super::at::{At, Refused};

/// Expressions within expressions, at most.
const DEPTH: usize = 64;

/// Compiles a syntax tree.
pub(super) fn compile(at: &At<'_>, message: &wire::Expr) -> Result<Expression, Refused> {
    let mut text = String::new();
    write(at, message, &mut text, DEPTH)?;
    Expression::compile(&text).map_err(|error| at.refuse(error.to_string()))
}

fn write(at: &At<'_>, message: &wire::Expr, out: &mut String, depth: usize) -> Result<(), Refused> {
    let depth = depth.checked_sub(1);
    let depth = depth.ok_or_else(|| at.refuse("nested too deep"))?;
    match &message.expr_kind {
        Some(ExprKind::ConstExpr(constant)) => literal(at, constant, out),
        Some(ExprKind::IdentExpr(ident)) => name(at, &ident.name, out),
        Some(ExprKind::SelectExpr(select)) => member(at, select, out, depth),
        Some(ExprKind::CallExpr(call)) => operation(at, call, out, depth),
        Some(ExprKind::ListExpr(list)) => {
            if !list.optional_indices.is_empty() {
                return Err(at
                    .field("list_expr")
                    .field("optional_indices")
                    .unsupported());
            }
            listed(at, ("[", "]"), &list.elements, out, depth)
        }
        Some(ExprKind::StructExpr(made)) => map(at, made, out, depth),
        Some(ExprKind::ComprehensionExpr(_)) => Err(at.field("comprehension_expr").unsupported()),
        None => Err(at.refuse("empty")),
    }
}

/// A name, which must be one: text of its own cannot become syntax.
fn name(at: &At<'_>, text: &str, out: &mut String) -> Result<(), Refused> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(at.refuse(format!("{text:?} is no name")));
    }
    out.push_str(text);
    Ok(())
}

fn literal(at: &At<'_>, constant: &wire::Constant, out: &mut String) -> Result<(), Refused> {
    match &constant.constant_kind {
        Some(ConstantKind::NullValue(_)) => out.push_str("null"),
        Some(ConstantKind::BoolValue(on)) => out.push_str(&on.to_string()),
        Some(ConstantKind::Int64Value(number)) => out.push_str(&format!("({number})")),
        Some(ConstantKind::Uint64Value(number)) => out.push_str(&format!("{number}u")),
        Some(ConstantKind::DoubleValue(number)) => out.push_str(&format!("({number:?})")),
        Some(ConstantKind::StringValue(text)) => quoted(text, out),
        Some(ConstantKind::BytesValue(bytes)) => {
            out.push_str("b\"");
            for byte in bytes {
                out.push_str(&format!("\\x{byte:02x}"));
            }
            out.push('"');
        }
        _ => return Err(at.field("const_expr").unsupported()),
    }
    Ok(())
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            other if other.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn member(at: &At<'_>, select: &Select, out: &mut String, depth: usize) -> Result<(), Refused> {
    let operand = select.operand.as_deref();
    let operand = operand.ok_or_else(|| at.field("select_expr").refuse("no operand"))?;
    if select.test_only {
        out.push_str("has(");
    }
    write(at, operand, out, depth)?;
    out.push('.');
    name(at, &select.field, out)?;
    if select.test_only {
        out.push(')');
    }
    Ok(())
}

fn operation(at: &At<'_>, call: &Call, out: &mut String, depth: usize) -> Result<(), Refused> {
    let sign = match &*call.function {
        "_&&_" => "&&",
        "_||_" => "||",
        "_==_" => "==",
        "_!=_" => "!=",
        "_<_" => "<",
        "_<=_" => "<=",
        "_>_" => ">",
        "_>=_" => ">=",
        "_+_" => "+",
        "_-_" => "-",
        "_*_" => "*",
        "_/_" => "/",
        "_%_" => "%",
        "@in" | "_in_" | "in" => "in",
        _ => "",
    };
    match (&*call.function, &*call.args) {
        (_, [one, other]) if !sign.is_empty() => {
            out.push('(');
            write(at, one, out, depth)?;
            out.push_str(&format!(" {sign} "));
            write(at, other, out, depth)?;
            out.push(')');
        }
        ("!_", [one]) => prefixed(at, "!", one, out, depth)?,
        ("-_", [one]) => prefixed(at, "-", one, out, depth)?,
        ("_[_]", [one, key]) => {
            write(at, one, out, depth)?;
            out.push('[');
            write(at, key, out, depth)?;
            out.push(']');
        }
        ("_?_:_", [condition, one, other]) => {
            out.push('(');
            write(at, condition, out, depth)?;
            out.push_str(" ? ");
            write(at, one, out, depth)?;
            out.push_str(" : ");
            write(at, other, out, depth)?;
            out.push(')');
        }
        (function, arguments) => {
            if let Some(target) = &call.target {
                write(at, target, out, depth)?;
                out.push('.');
            }
            name(at, function, out)?;
            listed(at, ("(", ")"), arguments, out, depth)?;
        }
    }
    Ok(())
}

fn prefixed(
    at: &At<'_>,
    sign: &str,
    operand: &wire::Expr,
    out: &mut String,
    depth: usize,
) -> Result<(), Refused> {
    out.push_str(sign);
    out.push('(');
    write(at, operand, out, depth)?;
    out.push(')');
    Ok(())
}

fn listed(
    at: &At<'_>,
    (open, close): (&str, &str),
    all: &[wire::Expr],
    out: &mut String,
    depth: usize,
) -> Result<(), Refused> {
    out.push_str(open);
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(at, one, out, depth)?;
    }
    out.push_str(close);
    Ok(())
}

fn map(at: &At<'_>, made: &CreateStruct, out: &mut String, depth: usize) -> Result<(), Refused> {
    let place = at.field("struct_expr");
    if !made.message_name.is_empty() {
        return Err(place.field("message_name").unsupported());
    }
    out.push('{');
    for (index, entry) in made.entries.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        match &entry.key_kind {
            Some(KeyKind::MapKey(key)) => write(at, key, out, depth)?,
            _ => return Err(place.refuse("an entry without key")),
        }
        out.push_str(": ");
        let value = entry.value.as_ref();
        write(
            at,
            value.ok_or_else(|| place.refuse("an entry without value"))?,
            out,
            depth,
        )?;
    }
    out.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expr(kind: ExprKind) -> wire::Expr {
        wire::Expr {
            id: 0,
            expr_kind: Some(kind),
        }
    }

    fn text(value: &str) -> wire::Expr {
        let constant_kind = Some(ConstantKind::StringValue(value.to_owned()));
        expr(ExprKind::ConstExpr(wire::Constant { constant_kind }))
    }

    fn field(name: &str, test_only: bool) -> wire::Expr {
        let ident = wire::expr::Ident {
            name: "request".to_owned(),
        };
        expr(ExprKind::SelectExpr(Box::new(Select {
            operand: Some(Box::new(expr(ExprKind::IdentExpr(ident)))),
            field: name.to_owned(),
            test_only,
        })))
    }

    fn call(function: &str, target: Option<wire::Expr>, args: Vec<wire::Expr>) -> wire::Expr {
        expr(ExprKind::CallExpr(Box::new(Call {
            target: target.map(Box::new),
            function: function.to_owned(),
            args,
        })))
    }

    #[test]
    fn trees_become_the_text_they_were_made_from() {
        let header = call("_[_]", None, vec![field("headers", false), text("a\"\\\n")]);
        let starts = call("startsWith", Some(field("path", false)), vec![text("/a")]);
        let both = call(
            "_&&_",
            None,
            vec![
                call("_==_", None, vec![header, text("b")]),
                call(
                    "!_",
                    None,
                    vec![call("_||_", None, vec![starts, field("id", true)])],
                ),
            ],
        );
        let made = compile(&At::ROOT, &both).expect("compiles");
        assert_eq!(
            made.source(),
            r#"((request.headers["a\"\\\u000a"] == "b") && !((request.path.startsWith("/a") || has(request.id))))"#
        );
    }

    #[test]
    fn names_that_would_be_syntax_are_refused() {
        let bad = call("f(1) || g", None, Vec::new());
        assert!(compile(&At::ROOT, &bad).is_err());
    }
}
