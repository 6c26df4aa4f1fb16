//! From tokens to a tree whose names are resolved.

use http::HeaderName;
use regex::Regex;

use super::CelError;
use super::attribute::{self, Attribute};
use super::functions::Function;
use super::lex::{Token, tokens};

/// Deepest nesting, and most parts of an expression.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 4096;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Attribute(Attribute),
    /// A variable of a macro, by its distance from the innermost.
    Variable(usize),
    /// `a.b` and `a[b]`.
    Member(Box<Node>, Box<Node>),
    Has(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Minus(Box<Node>),
    Binary(Operator, Box<(Node, Node)>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Choose(Box<(Node, Node, Node)>),
    Call(Function, Vec<Node>),
    Matches(Box<Node>, Regex),
    Fold(Macro, Box<(Node, Node, Option<Node>)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Differs,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

pub(super) fn parse(source: &str) -> Result<Node, CelError> {
    let mut parser = Parser {
        tokens: tokens(source)?,
        place: 0,
        end: source.len(),
        depth: 0,
        nodes: 0,
        scopes: Vec::new(),
    };
    let node = parser.expression()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.error("something follows the expression")),
    }
}

/// Names of request headers that are asked for by a text, and whether headers are used in another way too.
pub(super) fn request_headers(root: &Node) -> (Vec<HeaderName>, bool) {
    let (mut names, mut any) = (Vec::new(), false);
    collect(root, &mut names, &mut any);
    (names, any)
}

fn collect(node: &Node, names: &mut Vec<HeaderName>, any: &mut bool) {
    let mut add = |name: HeaderName| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    match node {
        Node::Attribute(Attribute::RequestHeaders) => *any = true,
        Node::Attribute(Attribute::RequestReferer) => add(http::header::REFERER),
        Node::Attribute(Attribute::RequestUserAgent) => add(http::header::USER_AGENT),
        Node::Attribute(Attribute::RequestId) => add(HeaderName::from_static("x-request-id")),
        Node::Attribute(Attribute::RequestScheme) => {
            add(HeaderName::from_static("x-forwarded-proto"));
        }
        Node::Member(object, key) | Node::Has(object, key) => match (&**object, &**key) {
            (Node::Attribute(Attribute::RequestHeaders), Node::Text(name)) => {
                if let Ok(name) = HeaderName::try_from(name) {
                    add(name);
                }
            }
            (object, key) => {
                collect(object, names, any);
                collect(key, names, any);
            }
        },
        Node::Binary(Operator::In, both)
            if matches!(
                (&both.0, &both.1),
                (Node::Text(_), Node::Attribute(Attribute::RequestHeaders))
            ) =>
        {
            if let Node::Text(name) = &both.0
                && let Ok(name) = HeaderName::try_from(name)
            {
                add(name);
            }
        }
        _ => each_child(node, &mut |child| collect(child, names, any)),
    }
}

fn each_child(node: &Node, see: &mut dyn FnMut(&Node)) {
    match node {
        Node::List(items) | Node::Call(_, items) => items.iter().for_each(see),
        Node::Map(entries) => entries.iter().for_each(|(key, value)| {
            see(key);
            see(value);
        }),
        Node::Member(a, b) | Node::Has(a, b) => {
            see(a);
            see(b);
        }
        Node::Not(a) | Node::Minus(a) | Node::Matches(a, _) => see(a),
        Node::Binary(_, both) | Node::And(both) | Node::Or(both) => {
            see(&both.0);
            see(&both.1);
        }
        Node::Choose(all) => {
            see(&all.0);
            see(&all.1);
            see(&all.2);
        }
        Node::Fold(_, all) => {
            see(&all.0);
            see(&all.1);
            if let Some(third) = &all.2 {
                see(third);
            }
        }
        _ => {}
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    place: usize,
    end: usize,
    depth: usize,
    nodes: usize,
    scopes: Vec<String>,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.place += 1;
        token
    }

    fn error(&self, reason: impl Into<String>) -> CelError {
        CelError {
            at: self.tokens.get(self.place).map_or(self.end, |(at, _)| *at),
            reason: reason.into(),
        }
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(own)) if *own == sign);
        self.place += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        match self.eat(sign) {
            true => Ok(()),
            false => Err(self.error(format!("`{sign}` is expected"))),
        }
    }

    fn count(&mut self) -> Result<(), CelError> {
        self.nodes += 1;
        match self.nodes > MAX_NODES {
            true => Err(self.error("the expression is too large")),
            false => Ok(()),
        }
    }

    fn expression(&mut self) -> Result<Node, CelError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("the expression is nested too deep"));
        }
        let mut node = self.or()?;
        if self.eat("?") {
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.expression()?;
            node = Node::Choose(Box::new((node, yes, no)));
        }
        self.depth -= 1;
        Ok(node)
    }

    fn or(&mut self) -> Result<Node, CelError> {
        let mut node = self.and()?;
        let mut chain = 0;
        while self.eat("||") {
            self.chained(&mut chain)?;
            node = Node::Or(Box::new((node, self.and()?)));
        }
        Ok(node)
    }

    fn and(&mut self) -> Result<Node, CelError> {
        let mut node = self.relation()?;
        let mut chain = 0;
        while self.eat("&&") {
            self.chained(&mut chain)?;
            node = Node::And(Box::new((node, self.relation()?)));
        }
        Ok(node)
    }

    /// A chain of operators nests to the left: it has the same limit as brackets, four times over.
    fn chained(&self, chain: &mut usize) -> Result<(), CelError> {
        *chain += 1;
        match *chain > 4 * MAX_DEPTH {
            true => Err(self.error("the chain of operators is too long")),
            false => Ok(()),
        }
    }

    fn relation(&mut self) -> Result<Node, CelError> {
        let mut node = self.sum()?;
        let mut chain = 0;
        while let Some(operator) = self.relation_sign() {
            self.chained(&mut chain)?;
            node = Node::Binary(operator, Box::new((node, self.sum()?)));
        }
        Ok(node)
    }

    fn relation_sign(&mut self) -> Option<Operator> {
        let operator = match self.peek()? {
            Token::Sign("==") => Operator::Equal,
            Token::Sign("!=") => Operator::Differs,
            Token::Sign("<") => Operator::Less,
            Token::Sign("<=") => Operator::LessOrEqual,
            Token::Sign(">") => Operator::More,
            Token::Sign(">=") => Operator::MoreOrEqual,
            Token::Name(name) if name == "in" => Operator::In,
            _ => return None,
        };
        self.place += 1;
        Some(operator)
    }

    fn sum(&mut self) -> Result<Node, CelError> {
        let mut node = self.product()?;
        let mut chain = 0;
        loop {
            let operator = match self.peek() {
                Some(Token::Sign("+")) => Operator::Add,
                Some(Token::Sign("-")) => Operator::Subtract,
                _ => return Ok(node),
            };
            self.place += 1;
            self.chained(&mut chain)?;
            node = Node::Binary(operator, Box::new((node, self.product()?)));
        }
    }

    fn product(&mut self) -> Result<Node, CelError> {
        let mut node = self.unary()?;
        let mut chain = 0;
        loop {
            let operator = match self.peek() {
                Some(Token::Sign("*")) => Operator::Multiply,
                Some(Token::Sign("/")) => Operator::Divide,
                Some(Token::Sign("%")) => Operator::Remainder,
                _ => return Ok(node),
            };
            self.place += 1;
            self.chained(&mut chain)?;
            node = Node::Binary(operator, Box::new((node, self.unary()?)));
        }
    }

    fn unary(&mut self) -> Result<Node, CelError> {
        let mut signs = Vec::new();
        loop {
            if self.eat("!") {
                signs.push('!');
            } else if self.eat("-") {
                signs.push('-');
            } else {
                break;
            }
            if signs.len() > MAX_DEPTH {
                return Err(self.error("too many signs"));
            }
        }
        let mut node = self.member()?;
        for sign in signs.into_iter().rev() {
            node = match (sign, node) {
                ('-', Node::Int(value)) => Node::Int(value.wrapping_neg()),
                ('-', Node::Double(value)) => Node::Double(-value),
                ('-', node) => Node::Minus(Box::new(node)),
                (_, node) => Node::Not(Box::new(node)),
            };
        }
        Ok(node)
    }

    fn member(&mut self) -> Result<Node, CelError> {
        let mut node = self.primary()?;
        let mut chain = 0;
        loop {
            if self.eat(".") {
                let name = self.name()?;
                node = match self.eat("(") {
                    true => self.method(node, &name)?,
                    false => Node::Member(Box::new(node), Box::new(Node::Text(name))),
                };
            } else if self.eat("[") {
                let key = self.expression()?;
                self.expect("]")?;
                node = Node::Member(Box::new(node), Box::new(key));
            } else {
                return Ok(node);
            }
            self.count()?;
            self.chained(&mut chain)?;
        }
    }

    fn name(&mut self) -> Result<String, CelError> {
        match self.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => {
                self.place -= 1;
                Err(self.error("a name is expected"))
            }
        }
    }

    fn primary(&mut self) -> Result<Node, CelError> {
        self.count()?;
        Ok(match self.next() {
            Some(Token::Int(value)) => Node::Int(value),
            Some(Token::Uint(value)) => Node::Uint(value),
            Some(Token::Double(value)) => Node::Double(value),
            Some(Token::Text(text)) => Node::Text(text),
            Some(Token::Bytes(bytes)) => Node::Bytes(bytes),
            Some(Token::Sign("(")) => {
                let node = self.expression()?;
                self.expect(")")?;
                node
            }
            Some(Token::Sign("[")) => Node::List(self.list("]")?),
            Some(Token::Sign("{")) => self.map()?,
            Some(Token::Name(name)) => return self.named(name),
            _ => {
                self.place = self.place.saturating_sub(1);
                return Err(self.error("a value is expected"));
            }
        })
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, CelError> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.expression()?);
            if !self.eat(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Node, CelError> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Node::Map(entries))
    }

    /// A literal, a variable, a function or an attribute.
    fn named(&mut self, name: String) -> Result<Node, CelError> {
        match &*name {
            "true" => return Ok(Node::Bool(true)),
            "false" => return Ok(Node::Bool(false)),
            "null" => return Ok(Node::Null),
            _ => {}
        }
        if self.eat("(") {
            return self.function(&name);
        }
        if let Some(distance) = self.scopes.iter().rev().position(|own| *own == name) {
            return Ok(Node::Variable(distance));
        }
        if let Some(attribute) = attribute::whole(&name) {
            return Ok(Node::Attribute(attribute));
        }
        if !attribute::is_group(&name) {
            self.place -= 1;
            return Err(self.error(format!("no attribute `{name}`")));
        }
        let second = if self.eat("[") {
            let second = match self.next() {
                Some(Token::Text(text)) => text,
                _ => String::new(),
            };
            self.expect("]")?;
            second
        } else {
            self.expect(".")?;
            self.name()?
        };
        attribute::find(&name, &second)
            .map(Node::Attribute)
            .ok_or_else(|| {
                self.place -= 1;
                self.error(format!("no attribute `{name}.{second}`"))
            })
    }

    fn function(&mut self, name: &str) -> Result<Node, CelError> {
        if name == "has" {
            let asked = self.expression()?;
            self.expect(")")?;
            return match asked {
                Node::Member(object, key) => Ok(Node::Has(object, key)),
                // An attribute itself is a member too.
                Node::Attribute(_) => Ok(Node::Has(Box::new(asked), Box::new(Node::Null))),
                _ => Err(self.error("has() takes a member")),
            };
        }
        let arguments = self.list(")")?;
        self.call(name, arguments)
    }

    fn method(&mut self, on: Node, name: &str) -> Result<Node, CelError> {
        let folded = match name {
            "all" => Some(Macro::All),
            "exists" => Some(Macro::Exists),
            "exists_one" => Some(Macro::ExistsOne),
            "map" => Some(Macro::Map),
            "filter" => Some(Macro::Filter),
            _ => None,
        };
        if let Some(folded) = folded {
            return self.fold(on, folded);
        }
        let mut arguments = vec![on];
        arguments.extend(self.list(")")?);
        self.call(name, arguments)
    }

    fn fold(&mut self, on: Node, kind: Macro) -> Result<Node, CelError> {
        let variable = self.name()?;
        self.expect(",")?;
        self.scopes.push(variable);
        let first = self.expression()?;
        let second = match kind == Macro::Map && self.eat(",") {
            true => Some(self.expression()?),
            false => None,
        };
        self.scopes.pop();
        self.expect(")")?;
        Ok(Node::Fold(kind, Box::new((on, first, second))))
    }

    fn call(&mut self, name: &str, mut arguments: Vec<Node>) -> Result<Node, CelError> {
        if name == "matches" && arguments.len() == 2 {
            let Some(Node::Text(pattern)) = arguments.pop() else {
                return Err(self.error("the pattern of matches() is a literal"));
            };
            let regex = Regex::new(&pattern)
                .map_err(|error| self.error(format!("{pattern:?}: {error}")))?;
            let on = arguments.pop().unwrap_or(Node::Null);
            return Ok(Node::Matches(Box::new(on), regex));
        }
        let function = Function::named(name, arguments.len()).ok_or_else(|| {
            self.error(format!(
                "no function `{name}` with {} arguments",
                arguments.len()
            ))
        })?;
        Ok(Node::Call(function, arguments))
    }
}
