//! YAML text as a tree that knows where everything stands, within limits that hostile text cannot pass.

use granit_parser::{Event, Parser, ScalarStyle};

use crate::position::Position;

/// Longest text that is read.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Nodes of a tree, aliases counted at their full size.
const MAX_NODES: usize = 50_000;
/// Bytes of all scalars, aliases counted again.
const MAX_TEXT: usize = 4 * MAX_BYTES;
/// Collections inside collections.
const MAX_DEPTH: usize = 32;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text, and whether it was written without quotes (and may thus be a number, a boolean or nothing).
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) at: Position,
}

/// Why the text is not usable YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(crate) at: Position,
    pub(crate) message: String,
}

impl Node {
    /// The value of a key in a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Nothing was written, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn size(&self) -> (usize, usize) {
        match &self.value {
            Value::Scalar { text, .. } => (1, text.len()),
            Value::Sequence(items) => items.iter().fold((1, 0), |sum, node| add(sum, node.size())),
            Value::Mapping(entries) => entries.iter().fold((1, 0), |sum, (key, node)| {
                let (nodes, bytes) = node.size();
                add(sum, (nodes + 1, bytes + key.text.len()))
            }),
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 0,
            Value::Sequence(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Mapping(entries) => 1 + entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }
}

fn add(left: (usize, usize), right: (usize, usize)) -> (usize, usize) {
    (left.0.saturating_add(right.0), left.1.saturating_add(right.1))
}

/// A collection that is not closed yet.
struct Open {
    at: Position,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder {
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    documents: Vec<Node>,
    nodes: usize,
    bytes: usize,
}

/// Every document of the text.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Node>, YamlError> {
    let error = |at, message: String| YamlError { at, message };
    if bytes.len() > MAX_BYTES {
        return Err(error(Position::START, format!("larger than {} KiB", MAX_BYTES / 1024)));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        error(Position { line, column }, "not UTF-8".to_owned())
    })?;
    let mut builder = Builder { open: Vec::new(), anchors: Vec::new(), documents: Vec::new(), nodes: 0, bytes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let at = Position { line: e.marker().line().max(1), column: e.marker().col() + 1 };
            error(at, format!("not valid YAML: {}", e.info()))
        })?;
        let at = Position { line: span.start.line().max(1), column: span.start.col() + 1 };
        builder.event(event, at).map_err(|message| error(at, message))?;
    }
    Ok(builder.documents)
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let mut plain = style == ScalarStyle::Plain;
                if let Some(tag) = tag {
                    match tag.to_string().rsplit(['!', ':']).next() {
                        Some("str") => plain = false,
                        Some("int" | "float" | "bool" | "null") => {}
                        _ => return Err("tags are not supported".to_owned()),
                    }
                }
                self.value(Node { at, value: Value::Scalar { text: text.into_owned(), plain } }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.start(at, anchor, OpenKind::Sequence(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.start(at, anchor, OpenKind::Mapping { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, anchor, kind: OpenKind::Sequence(items) }) => {
                    self.value(Node { at, value: Value::Sequence(items) }, anchor)
                }
                Some(Open { at, anchor, kind: OpenKind::Mapping { entries, .. } }) => {
                    self.value(Node { at, value: Value::Mapping(merge(entries)?) }, anchor)
                }
                None => Err("a collection that was never opened".to_owned()),
            },
            Event::Alias(id) => {
                let node = self.anchors.iter().rev().find(|(anchor, _)| *anchor == id).map(|(_, node)| node);
                let node = node.ok_or("an alias of a value that is not complete")?;
                if self.open.len() + node.depth() > MAX_DEPTH {
                    return Err(format!("nested more than {MAX_DEPTH} deep"));
                }
                // At most as large as everything before, which counted; the copy counts before the next one is made.
                let node = node.clone();
                let (nodes, bytes) = node.size();
                self.count(nodes, bytes)?;
                self.place(node)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, at: Position, anchor: usize, kind: OpenKind) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        self.count(1, 0)?;
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if let Value::Scalar { text, .. } = &node.value {
            self.count(1, text.len())?;
        }
        if anchor > 0 {
            // The copy that an alias will be made from counts as well.
            let (nodes, bytes) = node.size();
            self.count(nodes, bytes)?;
            self.anchors.push((anchor, node.clone()));
        }
        self.place(node)
    }

    fn place(&mut self, node: Node) -> Result<(), String> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.documents.push(node),
            Some(OpenKind::Sequence(items)) => items.push(node),
            Some(OpenKind::Mapping { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some(Key { text, at: node.at }),
                    _ => return Err("a key that is not text".to_owned()),
                },
            },
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, bytes: usize) -> Result<(), String> {
        (self.nodes, self.bytes) = add((self.nodes, self.bytes), (nodes, bytes));
        if self.nodes > MAX_NODES || self.bytes > MAX_TEXT {
            return Err("too large once its aliases are expanded".to_owned());
        }
        Ok(())
    }
}

/// `<<: *defaults` gives the keys that are not written.
fn merge(entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, String> {
    if !entries.iter().any(|(key, _)| key.text == "<<") {
        return Ok(entries);
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.text == "<<");
    for (_, node) in merges {
        let sources = match node.value {
            Value::Sequence(items) => items,
            _ => vec![node],
        };
        for source in sources {
            let Value::Mapping(from) = source.value else {
                return Err("`<<` needs a mapping".to_owned());
            };
            for (key, value) in from {
                if !own.iter().any(|(known, _)| known.text == key.text) {
                    own.push((key, value));
                }
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_places() {
        let documents = parse("a:\n  - {b: 'x', ü: y}\n".as_bytes()).unwrap();
        let item = match &documents[0].get("a").unwrap().value {
            Value::Sequence(items) => &items[0],
            other => panic!("{other:?}"),
        };
        assert_eq!(item.at, Position { line: 2, column: 5 });
        assert_eq!(item.get("b").unwrap().at, Position { line: 2, column: 9 });
        assert_eq!(item.get("ü").unwrap().at, Position { line: 2, column: 17 });
    }

    #[test]
    fn bombs_do_not_go_off() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let alias = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{alias}]\n");
        }
        assert_eq!(parse(bomb.as_bytes()).unwrap_err().message, "too large once its aliases are expanded");
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse("- ".repeat(10_000).as_bytes()).is_err());
        assert!(parse("a: &a [*a]".as_bytes()).is_err());
        assert!(parse(&vec![b'#'; MAX_BYTES + 1]).is_err());
        assert!(parse(&[b'a', b':', b' ', 0xff]).unwrap_err().at == Position { line: 1, column: 4 });
    }

    #[test]
    fn merges() {
        let documents = parse(b"base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\n").unwrap();
        let used = documents[0].get("use").unwrap();
        assert_eq!(used.get("x").unwrap().text(), Some("1"));
        assert_eq!(used.get("y").unwrap().text(), Some("3"));
    }
}
