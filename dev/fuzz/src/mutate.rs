//! Making one input of another.
use crate::chance::Chance;

/// What is dangerous, or means something, wherever it stands.
const WORDS: &[&[u8]] = &[
    b"..",
    b".",
    b"/",
    b"//",
    b"\\",
    b"\0",
    b"",
    b" ",
    b"a/../../b",
    b"/etc/passwd",
    b"%2e%2e",
    b"\xff\xfe",
    "\u{202e}ü".as_bytes(),
    b"blobs",
    b"uploads",
    b"compressed-blobs",
    b"zstd",
    b"blake3",
    b"sha256",
    b"cas",
    b"ac",
    b"webdav",
    b"-1",
    b"0",
    b"+5",
    b"9223372036854775807",
    b"99999999999999999999",
    b"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    &[0xFF; 10],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    &[b'x'; 300],
];

/// `input` with one thing changed, perhaps with something of `other`.
pub fn mutated(input: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    // Most targets read messages, and a byte changed anywhere in one mostly makes it unreadable.
    if chance.below(2) == 0
        && let Some(message) = by_field(input, other, chance, 0)
    {
        return message;
    }
    by_byte(input, other, chance)
}

fn by_byte(input: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let (at, to) = span(bytes.len(), chance);
    match chance.below(7) {
        0 if !bytes.is_empty() => bytes[at.min(input.len() - 1)] ^= 1 << chance.below(8),
        1 if !bytes.is_empty() => bytes[at.min(input.len() - 1)] = chance.next() as u8,
        2 => drop(bytes.splice(at..to, std::iter::empty())),
        3 => drop(bytes.splice(at..to, chance.one_of(WORDS).iter().copied())),
        4 => drop(bytes.splice(at..at, input[at..to].iter().copied())),
        5 => {
            let (start, end) = span(other.len(), chance);
            drop(bytes.splice(at..to, other[start..end].iter().copied()));
        }
        _ => drop(bytes.splice(at..at, chance.one_of(WORDS).iter().copied())),
    }
    bytes
}

/// Two places within, in order.
fn span(length: usize, chance: &mut Chance) -> (usize, usize) {
    let (a, b) = (chance.below(length + 1), chance.below(length + 1));
    (a.min(b), a.max(b))
}

/// A field of a message.
struct Field<'a> {
    /// With its tag.
    whole: &'a [u8],
    tag: u64,
    /// Of a field with a length.
    content: Option<&'a [u8]>,
}

/// The fields, where all of it is fields.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let start = bytes;
        let tag = varint(&mut bytes)?;
        let content = match tag & 7 {
            0 => varint(&mut bytes).map(|_| None)?,
            1 => bytes.split_off(..8).map(|_| None)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Some(bytes.split_off(..length)?)
            }
            5 => bytes.split_off(..4).map(|_| None)?,
            _ => return None,
        };
        all.push(Field { whole: &start[..start.len() - bytes.len()], tag, content });
    }
    Some(all)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn with_content(tag: u64, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(content.len() + 8);
    put(&mut field, tag);
    put(&mut field, content.len() as u64);
    field.extend(content);
    field
}

/// How deep messages are looked into.
const DEPTH_MAX: usize = 8;

/// One field away, twice, elsewhere, of the other message, or with something changed inside; nothing where the input is no message.
fn by_field(input: &[u8], other: &[u8], chance: &mut Chance, depth: usize) -> Option<Vec<u8>> {
    let all = fields(input)?;
    if all.is_empty() {
        return None;
    }
    let mut parts: Vec<Vec<u8>> = all.iter().map(|field| field.whole.to_vec()).collect();
    let (at, to) = (chance.below(parts.len()), chance.below(parts.len()));
    match chance.below(8) {
        0 => drop(parts.remove(at)),
        1 => parts.insert(to, parts[at].clone()),
        2 => parts.swap(at, to),
        3 => {
            let others = fields(other).filter(|fields| !fields.is_empty())?;
            parts[at] = chance.one_of(&others).whole.to_vec();
        }
        4 => {
            // The same bytes as another field, with a number that the message may not know.
            let content = all[at].content?;
            parts[at] = with_content((chance.next() % 16) << 3 | 2, content);
        }
        5 => {
            let mut number = Vec::new();
            put(&mut number, all[at].tag & !7);
            put(&mut number, if chance.below(2) == 0 { chance.next() } else { u64::MAX });
            parts[at] = number;
        }
        _ => {
            let content = all[at].content?;
            let deeper = (depth < DEPTH_MAX).then(|| by_field(content, other, chance, depth + 1)).flatten();
            let changed = deeper.unwrap_or_else(|| by_byte(content, other, chance));
            parts[at] = with_content(all[at].tag, &changed);
        }
    }
    Some(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_apart_and_what_is_none_is_not() {
        // Field 1 with "ab", field 2 = 300.
        let message = [0x0A, 2, b'a', b'b', 0x10, 0xAC, 0x02];
        let fields = fields(&message).unwrap();
        assert_eq!((fields.len(), fields[0].content, fields[1].whole), (2, Some(&b"ab"[..]), &message[4..]));
        assert!(super::fields(&[0x0A, 200, 1]).is_none());
        assert_eq!(with_content(0x0A, b"ab"), message[..4]);
    }

    #[test]
    fn equal_chance_makes_equal_inputs() {
        let make = || {
            let mut chance = Chance::new(7);
            (0..50).map(|_| mutated(b"\x0a\x03abc", b"other", &mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
        assert!(make().iter().any(|input| fields(input).is_some_and(|fields| !fields.is_empty())));
    }
}
