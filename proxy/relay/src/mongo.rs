//! MongoDB's wire protocol as far as its statistics need it: messages are cut out of a stream of bytes, and the first
//! part of each is read. Nothing is held beyond that part, however long a message is.

use bytes::{Buf, BytesMut};

/// Bytes of a message's body that are looked at.
const LOOKED_AT: usize = 16 * 1024;
/// Bytes of a message's header.
const HEADER: usize = 16;
/// Longest message that a server takes.
const MAX_MESSAGE: usize = 48 * 1000 * 1000 + 16 * 1024;
/// Values of one document that are looked at.
const MAX_VALUES: usize = 512;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoMessage {
    /// Its number.
    pub id: i32,
    /// The number of the message that it answers.
    pub answers: i32,
    /// Its size with the header, bytes.
    pub size: usize,
    /// What it is.
    pub kind: MongoKind,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MongoKind {
    /// `OP_REPLY`.
    Reply {
        /// No such cursor.
        cursor_not_found: bool,
        /// The query failed.
        query_failure: bool,
        /// More can be had.
        valid_cursor: bool,
        /// Documents returned.
        documents: i32,
    },
    /// `OP_QUERY`.
    Query(MongoQuery),
    /// `OP_INSERT`.
    Insert,
    /// `OP_GET_MORE`.
    GetMore,
    /// `OP_KILL_CURSORS`.
    KillCursors,
    /// `OP_COMMAND`.
    Command,
    /// `OP_COMMANDREPLY`.
    CommandReply,
    /// `OP_MSG`, whose first key is the command; answers have none that counts.
    Message(Option<String>),
    /// Compressed by the client: nothing can be said of it.
    Compressed,
}

/// A query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MongoQuery {
    /// More may come later.
    pub tailable: bool,
    /// The cursor stays.
    pub no_cursor_timeout: bool,
    /// The server waits for data.
    pub await_data: bool,
    /// All comes at once.
    pub exhaust: bool,
    /// The command, where it is one other than `find`.
    pub command: Option<String>,
    /// The collection, where it is no command.
    pub collection: String,
    /// It has a time limit.
    pub max_time: bool,
    /// What it asks for.
    pub kind: MongoQueryKind,
}

/// What a query asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MongoQueryKind {
    /// One document by its key.
    #[default]
    PrimaryKey,
    /// Documents by a list of keys.
    MultiGet,
    /// Anything without a key.
    ScatterGet,
}

/// Bytes that are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not MongoDB's protocol")]
pub struct NotMongo;

/// Cuts messages out of one direction.
#[derive(Debug, Default)]
pub struct MongoDecoder {
    head: BytesMut,
    /// Bytes of the message that are still to come and not looked at.
    skip: usize,
}

impl MongoDecoder {
    /// Takes the next bytes; calls `found` for each message whose looked-at part is complete.
    ///
    /// # Errors
    /// When the bytes are no messages.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut found: impl FnMut(MongoMessage),
    ) -> Result<(), NotMongo> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes.advance(skipped);
            let wanted = self.wanted()?;
            let missing = wanted.saturating_sub(self.head.len()).min(bytes.len());
            self.head
                .extend_from_slice(bytes.get(..missing).unwrap_or_default());
            bytes.advance(missing);
            let wanted = self.wanted()?;
            if self.head.len() >= wanted && wanted > HEADER {
                let size = self.size().ok_or(NotMongo)?;
                found(message(&self.head, size)?);
                self.skip = size - self.head.len();
                self.head.clear();
            }
        }
        Ok(())
    }

    /// Bytes that are needed before the message is looked at.
    fn wanted(&self) -> Result<usize, NotMongo> {
        let Some(size) = self.size() else {
            return Ok(HEADER);
        };
        match size {
            HEADER..=MAX_MESSAGE => Ok(size.clamp(HEADER + 1, HEADER + LOOKED_AT)),
            _ => Err(NotMongo),
        }
    }

    fn size(&self) -> Option<usize> {
        if self.head.len() < HEADER {
            return None;
        }
        let size = (&self.head[..]).get_i32_le();
        Some(usize::try_from(size).unwrap_or(usize::MAX))
    }
}

fn message(mut bytes: &[u8], size: usize) -> Result<MongoMessage, NotMongo> {
    let whole = bytes.len() >= size;
    bytes.advance(4);
    let id = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    let answers = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    let code = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    let kind = match code {
        1 => reply(bytes)?,
        2002 => MongoKind::Insert,
        2004 => MongoKind::Query(query(bytes, whole)?),
        2005 => MongoKind::GetMore,
        2007 => MongoKind::KillCursors,
        2010 => MongoKind::Command,
        2011 => MongoKind::CommandReply,
        2012 => MongoKind::Compressed,
        2013 => MongoKind::Message(command_of(bytes, answers)),
        _ => return Err(NotMongo),
    };
    Ok(MongoMessage {
        id,
        answers,
        size,
        kind,
    })
}

fn reply(mut bytes: &[u8]) -> Result<MongoKind, NotMongo> {
    let flags = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    let cursor = bytes.try_get_i64_le().map_err(|_| NotMongo)?;
    let _from = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    let documents = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    Ok(MongoKind::Reply {
        cursor_not_found: flags & 1 != 0,
        query_failure: flags & 2 != 0,
        valid_cursor: cursor != 0,
        documents,
    })
}

/// `whole`: nothing of the message is cut off.
fn query(mut bytes: &[u8], whole: bool) -> Result<MongoQuery, NotMongo> {
    let flags = bytes.try_get_i32_le().map_err(|_| NotMongo)?;
    let (full, rest) = text(bytes).ok_or(NotMongo)?;
    // What is skipped, and how many are wanted.
    let document = rest.get(8..).ok_or(NotMongo)?;
    let outer = Document::read(document).ok_or(NotMongo)?;
    if whole && outer.cut_off {
        return Err(NotMongo);
    }
    let mut made = MongoQuery {
        tailable: flags & 1 << 1 != 0,
        no_cursor_timeout: flags & 1 << 4 != 0,
        await_data: flags & 1 << 5 != 0,
        exhaust: flags & 1 << 6 != 0,
        max_time: outer.get("$maxTimeMS").is_some_and(Value::is_positive),
        ..MongoQuery::default()
    };
    let (_, collection) = full.split_once('.').ok_or(NotMongo)?;
    let within = |name| outer.get(name).and_then(Value::document);
    if !full.contains("$cmd") {
        made.collection = collection.to_owned();
        let inner = within("$query").or_else(|| within("query"));
        made.kind = kind(inner.as_ref().unwrap_or(&outer));
        return Ok(made);
    }
    let inner = within("$query").or_else(|| within("query"));
    let command = inner.as_ref().unwrap_or(&outer);
    let (name, value) = command.values.first().ok_or(NotMongo)?;
    if *name != "find" {
        made.command = Some((*name).to_owned());
        return Ok(made);
    }
    made.collection = value.text().ok_or(NotMongo)?.to_owned();
    let filter = command.get("filter").and_then(Value::document);
    made.kind = filter.as_ref().map_or(MongoQueryKind::ScatterGet, kind);
    Ok(made)
}

fn kind(query: &Document<'_>) -> MongoQueryKind {
    let Some(key) = query.get("_id") else {
        return MongoQueryKind::ScatterGet;
    };
    match key.document() {
        Some(inner) if inner.get("$in").is_some() => MongoQueryKind::MultiGet,
        _ => MongoQueryKind::PrimaryKey,
    }
}

/// The command of an `OP_MSG`: the first key of its body.
fn command_of(mut bytes: &[u8], answers: i32) -> Option<String> {
    if answers != 0 {
        return None;
    }
    let _flags = bytes.try_get_u32_le().ok()?;
    if bytes.try_get_u8().ok()? != 0 {
        return None;
    }
    let document = Document::read(bytes)?;
    document.values.first().map(|(name, _)| (*name).to_owned())
}

/// A document, read as far as it is there.
struct Document<'b> {
    values: Vec<(&'b str, Value<'b>)>,
    cut_off: bool,
}

/// A value: its type and its bytes.
#[derive(Clone, Copy)]
struct Value<'b>(u8, &'b [u8]);

impl<'b> Document<'b> {
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let length = usize::try_from((&*bytes).try_get_i32_le().ok()?).ok()?;
        let mut rest = bytes.get(4..length.min(bytes.len()))?;
        let mut made = Self {
            values: Vec::new(),
            cut_off: bytes.len() < length,
        };
        while made.values.len() < MAX_VALUES {
            let Ok(kind) = rest.try_get_u8() else {
                made.cut_off = true;
                break;
            };
            if kind == 0 {
                break;
            }
            let named =
                text(rest).and_then(|(name, rest)| Some((name, length_of(kind, rest)?, rest)));
            let Some((name, length, after)) =
                named.filter(|(_, length, after)| *length <= after.len())
            else {
                made.cut_off = true;
                break;
            };
            let (value, left) = after.split_at_checked(length)?;
            made.values.push((name, Value(kind, value)));
            rest = left;
        }
        Some(made)
    }

    fn get(&self, name: &str) -> Option<Value<'b>> {
        let found = self.values.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| *value)
    }
}

impl<'b> Value<'b> {
    fn document(self) -> Option<Document<'b>> {
        matches!(self.0, 3 | 4).then(|| Document::read(self.1))?
    }

    fn text(self) -> Option<&'b str> {
        let bytes = self.1.get(4..self.1.len().checked_sub(1)?)?;
        (self.0 == 2).then(|| std::str::from_utf8(bytes).ok())?
    }

    fn is_positive(self) -> bool {
        let mut bytes = self.1;
        match self.0 {
            1 => bytes.try_get_f64_le().is_ok_and(|it| it >= 1.0),
            16 => bytes.try_get_i32_le().is_ok_and(|it| it >= 1),
            18 => bytes.try_get_i64_le().is_ok_and(|it| it >= 1),
            _ => false,
        }
    }
}

/// A text that ends with a zero byte, and what follows it.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    Some((text, bytes.get(end + 1..)?))
}

/// Bytes of a value of this type (bsonspec.org).
fn length_of(kind: u8, bytes: &[u8]) -> Option<usize> {
    let counted = |more: usize| {
        let length = usize::try_from((&*bytes).try_get_i32_le().ok()?).ok()?;
        length.checked_add(more)
    };
    match kind {
        6 | 10 | 0x7f | 0xff => Some(0),
        8 => Some(1),
        16 => Some(4),
        1 | 9 | 17 | 18 => Some(8),
        7 => Some(12),
        19 => Some(16),
        2 | 13 | 14 => counted(4),
        3 | 4 | 15 => counted(0),
        5 => counted(5),
        12 => counted(16),
        11 => {
            let first = memchr::memchr(0, bytes)? + 1;
            let second = memchr::memchr(0, bytes.get(first..)?)? + 1;
            Some(first + second)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(values: &[u8]) -> Vec<u8> {
        let length = i32::try_from(values.len() + 5).unwrap();
        [&length.to_le_bytes()[..], values, &[0]].concat()
    }

    fn framed(code: i32, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(body.len() + HEADER).unwrap();
        let mut made = Vec::new();
        for number in [length, 7, 0, code] {
            made.extend(number.to_le_bytes());
        }
        [&made[..], body].concat()
    }

    fn asked(name: &str, document: &[u8]) -> Vec<u8> {
        let body = [&[0; 4][..], name.as_bytes(), &[0; 9], document].concat();
        framed(2004, &body)
    }

    fn all(bytes: &[u8], piece: usize) -> Result<Vec<MongoKind>, NotMongo> {
        let mut decoder = MongoDecoder::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.feed(piece, |message| found.push(message.kind))?;
        }
        Ok(found)
    }

    #[test]
    fn queries_say_what_they_ask_for() {
        let key = document(b"\x10_id\0\x01\0\0\0");
        let list = document(
            &[
                b"\x03_id\0",
                &document(&[b"\x04$in\0", &document(b"")[..]].concat())[..],
            ]
            .concat(),
        );
        let other = document(b"\x02name\0\x02\0\0\0a\0");
        let command = document(b"\x10count\0\x01\0\0\0");
        let found = document(b"\x02find\0\x05\0\0\0cats\0");
        let bytes = [
            asked("db.cats", &key),
            asked("db.cats", &list),
            asked("db.cats", &other),
            asked("db.$cmd", &command),
            asked("db.$cmd", &found),
        ]
        .concat();
        for piece in [1, 3, 64, 4096] {
            let kinds = all(&bytes, piece).expect("messages");
            let [
                MongoKind::Query(a),
                MongoKind::Query(b),
                MongoKind::Query(c),
                MongoKind::Query(d),
                MongoKind::Query(e),
            ] = &kinds[..]
            else {
                panic!("{kinds:?}");
            };
            assert_eq!(
                (a.kind, b.kind, c.kind),
                (
                    MongoQueryKind::PrimaryKey,
                    MongoQueryKind::MultiGet,
                    MongoQueryKind::ScatterGet
                )
            );
            assert_eq!(
                (a.collection.as_str(), e.collection.as_str()),
                ("cats", "cats")
            );
            assert_eq!(
                (d.command.as_deref(), e.command.as_deref()),
                (Some("count"), None)
            );
        }
    }

    #[test]
    fn messages_name_their_command() {
        let body = [&[0; 5][..], &document(b"\x02insert\0\x02\0\0\0a\0")].concat();
        let kinds = all(&framed(2013, &body), 5).expect("a message");
        assert_eq!(kinds, [MongoKind::Message(Some("insert".into()))]);
    }

    #[test]
    fn long_messages_are_not_held() {
        let mut decoder = MongoDecoder::default();
        let body = vec![0; 1024 * 1024];
        let bytes = [framed(2002, &body), framed(2005, &body)].concat();
        let mut found = 0;
        for piece in bytes.chunks(1000) {
            decoder.feed(piece, |_| found += 1).expect("messages");
            assert!(decoder.head.len() <= HEADER + LOOKED_AT);
        }
        assert_eq!(found, 2);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            &framed(9999, b"a"),
            &framed(2004, b"short"),
            &[0xff; 16],
        ] {
            assert_eq!(all(bytes, 7), Err(NotMongo));
        }
    }
}
