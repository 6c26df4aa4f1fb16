//! Whether tokens make an expression.

use super::lexer::{Token, TokenKind};
use super::{CelReason, MAX_DEPTH, literal};

/// What is wrong and at which byte; `None` is the end. Boxed, since each level of an expression has room for one on the stack.
pub(super) type ParseError = Box<(Option<usize>, CelReason)>;

type Parsed = Result<Shape, ParseError>;

/// What macros need to know of their first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A name by itself.
    Name,
    /// A field of something.
    Field,
    /// Anything else.
    Other,
}

/// Rules that refer to themselves, whose depth is counted.
#[derive(Clone, Copy)]
enum Rule {
    Expression,
    Relation,
    Calculation,
    Member,
}

/// Names that the language keeps.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Macros over the elements of what they are called on; the first argument names an element.
const LOOPS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "filter", "map"];

/// Checks the tokens of an expression.
pub(super) fn check(tokens: &[Token<'_>]) -> Result<(), ParseError> {
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: [0; 4],
    };
    parser.expression()?;
    match parser.peek() {
        None => Ok(()),
        Some(token) => Err(unexpected(token, "an operator or the end")),
    }
}

struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    next: usize,
    depth: [u16; 4],
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.next)
    }

    fn sign_at(&self, ahead: usize) -> Option<&'static str> {
        match self.tokens.get(self.next + ahead)?.kind {
            TokenKind::Sign(sign) => Some(sign),
            _ => None,
        }
    }

    fn name_at(&self, ahead: usize) -> Option<&'a str> {
        match self.tokens.get(self.next + ahead)?.kind {
            TokenKind::Name(name) => Some(name),
            _ => None,
        }
    }

    fn take(&mut self, sign: &str) -> bool {
        let there = self.sign_at(0) == Some(sign);
        self.next += usize::from(there);
        there
    }

    fn need(&mut self, sign: &'static str, needed: &'static str) -> Result<(), ParseError> {
        if self.take(sign) {
            return Ok(());
        }
        Err(self.instead_of(needed))
    }

    fn instead_of(&self, needed: &'static str) -> ParseError {
        match self.peek() {
            Some(token) => unexpected(token, needed),
            None => fault(None, CelReason::End(needed)),
        }
    }

    fn here(&self) -> Option<usize> {
        self.peek().map(|token| token.at)
    }

    /// Goes one level deeper into a rule.
    fn enter(&mut self, rule: Rule) -> Result<(), ParseError> {
        let at = self.here();
        let depth = &mut self.depth[rule as usize];
        *depth += 1;
        if *depth > MAX_DEPTH {
            return Err(fault(at, CelReason::TooDeep));
        }
        Ok(())
    }

    fn leave(&mut self, rule: Rule, levels: u16) {
        let depth = &mut self.depth[rule as usize];
        *depth = depth.saturating_sub(levels);
    }

    fn expression(&mut self) -> Parsed {
        self.enter(Rule::Expression)?;
        let mut shape = self.alternatives()?;
        if self.take("?") {
            self.alternatives()?;
            self.need(":", "`:`")?;
            self.expression()?;
            shape = Shape::Other;
        }
        self.leave(Rule::Expression, 1);
        Ok(shape)
    }

    fn alternatives(&mut self) -> Parsed {
        let mut shape = self.conjunction()?;
        while self.take("||") {
            self.conjunction()?;
            shape = Shape::Other;
        }
        Ok(shape)
    }

    fn conjunction(&mut self) -> Parsed {
        let mut shape = self.relation()?;
        while self.take("&&") {
            self.relation()?;
            shape = Shape::Other;
        }
        Ok(shape)
    }

    fn relation(&mut self) -> Parsed {
        self.enter(Rule::Relation)?;
        let mut levels = 1;
        let mut shape = self.calculation(1)?;
        while self.take_comparison() {
            self.enter(Rule::Relation)?;
            levels += 1;
            self.calculation(1)?;
            shape = Shape::Other;
        }
        self.leave(Rule::Relation, levels);
        Ok(shape)
    }

    fn take_comparison(&mut self) -> bool {
        let there = match self.peek().map(|token| token.kind) {
            Some(TokenKind::In) => true,
            Some(TokenKind::Sign(sign)) => matches!(sign, "<" | "<=" | ">=" | ">" | "==" | "!="),
            _ => false,
        };
        self.next += usize::from(there);
        there
    }

    /// Sums (1) and products (2) of at least a rank.
    fn calculation(&mut self, least: u8) -> Parsed {
        self.enter(Rule::Calculation)?;
        let mut levels = 1;
        let mut shape = self.unary()?;
        loop {
            let rank = match self.sign_at(0) {
                Some("+" | "-") => 1,
                Some("*" | "/" | "%") => 2,
                _ => break,
            };
            if rank < least {
                break;
            }
            self.next += 1;
            self.enter(Rule::Calculation)?;
            levels += 1;
            self.calculation(rank + 1)?;
            shape = Shape::Other;
        }
        self.leave(Rule::Calculation, levels);
        Ok(shape)
    }

    fn unary(&mut self) -> Parsed {
        if self.take("!") {
            while self.take("!") {}
            self.member()?;
            return Ok(Shape::Other);
        }
        if self.sign_at(0) == Some("-") && !self.is_number_at(1) {
            while self.take("-") {}
            self.member()?;
            return Ok(Shape::Other);
        }
        self.member()
    }

    fn is_number_at(&self, ahead: usize) -> bool {
        self.tokens
            .get(self.next + ahead)
            .is_some_and(|token| token.kind == TokenKind::Number)
    }

    fn member(&mut self) -> Parsed {
        self.enter(Rule::Member)?;
        let mut levels = 1;
        let mut shape = self.primary()?;
        loop {
            if self.take(".") {
                shape = self.field()?;
            } else if self.take("[") {
                self.no_optional("`[?`")?;
                self.expression()?;
                self.need("]", "`]`")?;
                shape = Shape::Other;
            } else {
                break;
            }
            self.enter(Rule::Member)?;
            levels += 1;
        }
        self.leave(Rule::Member, levels);
        Ok(shape)
    }

    /// What follows a dot: a field or a call.
    fn field(&mut self) -> Parsed {
        self.no_optional("`.?`")?;
        let name = self.name()?;
        if !self.take("(") {
            return Ok(Shape::Field);
        }
        let at = self.here();
        let (count, first) = self.arguments()?;
        let is_loop = LOOPS.contains(&name) && (count == 2 || (count == 3 && name == "map"));
        if is_loop && first != Shape::Name {
            return Err(fault(at, bad_macro(name, "a name for an element")));
        }
        Ok(Shape::Other)
    }

    fn name(&mut self) -> Result<&'a str, ParseError> {
        if let Some(name) = self.name_at(0) {
            self.next += 1;
            return Ok(name);
        }
        match self.peek().map(|token| token.kind) {
            Some(TokenKind::QuotedName) => Err(fault(
                self.here(),
                CelReason::Optional("a name in backticks"),
            )),
            _ => Err(self.instead_of("a name")),
        }
    }

    fn no_optional(&self, what: &'static str) -> Result<(), ParseError> {
        if self.sign_at(0) == Some("?") {
            return Err(fault(self.here(), CelReason::Optional(what)));
        }
        Ok(())
    }

    /// The arguments of a call up to its closing parenthesis: their number, and the shape of the first.
    fn arguments(&mut self) -> Result<(usize, Shape), ParseError> {
        if self.take(")") {
            return Ok((0, Shape::Other));
        }
        let first = self.expression()?;
        let mut count = 1;
        while self.take(",") {
            self.expression()?;
            count += 1;
        }
        self.need(")", "`,` or `)`")?;
        Ok((count, first))
    }

    fn primary(&mut self) -> Parsed {
        let dotted = usize::from(self.sign_at(0) == Some("."));
        if self.name_at(dotted).is_some() {
            return self.named(dotted);
        }
        let negative = usize::from(self.sign_at(0) == Some("-"));
        if self.is_number_at(negative) {
            return self.number(negative);
        }
        if self.take("(") {
            let shape = self.expression()?;
            self.need(")", "`)`")?;
            return Ok(shape);
        }
        if self.take("[") {
            return self.entries("]", false);
        }
        if self.take("{") {
            return self.entries("}", true);
        }
        if self
            .peek()
            .is_some_and(|token| token.kind == TokenKind::Constant)
        {
            self.next += 1;
            return Ok(Shape::Other);
        }
        Err(self.instead_of("a value"))
    }

    /// A name, a call, or a message with its fields.
    fn named(&mut self, dotted: usize) -> Parsed {
        if let Some(length) = self.message_name(dotted) {
            self.next += length + 1;
            return self.fields();
        }
        self.next += dotted;
        let at = self.here();
        let name = self.name()?;
        if RESERVED.contains(&name) {
            return Err(fault(at, CelReason::Reserved(name.to_owned())));
        }
        if !self.take("(") {
            return Ok(Shape::Name);
        }
        let at = self.here();
        let (count, first) = self.arguments()?;
        if dotted == 1 || name != "has" || count != 1 {
            return Ok(Shape::Other);
        }
        if first != Shape::Field {
            return Err(fault(at, bad_macro(name, "a field, such as `a.b`")));
        }
        Ok(Shape::Field)
    }

    /// How many tokens a message's name has, if names joined by dots and then a brace follow.
    fn message_name(&self, dotted: usize) -> Option<usize> {
        let mut ahead = dotted + 1;
        while self.sign_at(ahead) == Some(".") && self.name_at(ahead + 1).is_some() {
            ahead += 2;
        }
        (self.sign_at(ahead) == Some("{")).then_some(ahead)
    }

    fn number(&mut self, negative: usize) -> Parsed {
        self.next += negative;
        if let Some(token) = self.peek()
            && !literal::fits(token.text, negative == 1)
        {
            return Err(fault(
                Some(token.at),
                CelReason::Number(token.text.to_owned()),
            ));
        }
        self.next += 1;
        Ok(Shape::Other)
    }

    /// The elements of a list or the pairs of a map; a comma may follow the last, or stand alone.
    fn entries(&mut self, close: &'static str, pairs: bool) -> Parsed {
        let mut more = !matches!(self.sign_at(0), Some("," | "]" | "}"));
        while more {
            self.no_optional("`?` before an element")?;
            self.expression()?;
            if pairs {
                self.need(":", "`:`")?;
                self.expression()?;
            }
            more = self.sign_at(0) == Some(",") && self.sign_at(1) != Some(close);
            self.next += usize::from(more);
        }
        self.take(",");
        self.need(close, if pairs { "`,` or `}`" } else { "`,` or `]`" })?;
        Ok(Shape::Other)
    }

    /// The fields of a message.
    fn fields(&mut self) -> Parsed {
        let mut more = !matches!(self.sign_at(0), Some("," | "}"));
        while more {
            self.no_optional("`?` before a field")?;
            self.name()?;
            self.need(":", "`:`")?;
            self.expression()?;
            more = self.sign_at(0) == Some(",") && self.sign_at(1) != Some("}");
            self.next += usize::from(more);
        }
        self.take(",");
        self.need("}", "`,` or `}`")?;
        Ok(Shape::Other)
    }
}

fn unexpected(token: &Token<'_>, needed: &'static str) -> ParseError {
    let found = token.text.chars().take(40).collect();
    fault(Some(token.at), CelReason::Unexpected { found, needed })
}

fn fault(at: Option<usize>, reason: CelReason) -> ParseError {
    Box::new((at, reason))
}

fn bad_macro(name: &str, needed: &'static str) -> CelReason {
    let name = name.to_owned();
    CelReason::Macro { name, needed }
}
