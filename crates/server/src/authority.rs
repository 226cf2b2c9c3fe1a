//! Clients of a Unix socket that give its path as the host.
//!
//! gRPC's C++ library writes `:authority: run%2Fuser%2F1000%2Flre%2Fre.sock` when it is told `unix:/run/user/…`, grpcurl the path as it
//! is. Neither is a host name, so the HTTP library ends each of their streams with PROTOCOL_ERROR before we are asked,
//! and has no switch for it (LIMITS 4). Nobody needs the name: there is one server behind a socket. So on Unix sockets,
//! and only there, the bytes of that one header that cannot stand in a host name become dashes on their way in. Nothing
//! changes its length, so no frame and no other header is touched; what is not understood is passed on as it is.
//!
//! RFC 9113 (frames), RFC 7541 (HPACK, its integers, and the shorter codes of its Huffman table).

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// The index of `:authority` in the static table.
const AUTHORITY: usize = 1;

/// And as it is spelt: gRPC's C++ library does not look it up.
const SPELT: &[u8] = b":authority";

/// Where in the stream of one connection the next byte stands.
#[derive(Debug)]
pub(crate) struct Authority {
    place: Place,
    fields: Fields,
}

#[derive(Debug)]
enum Place {
    Preface {
        seen: usize,
    },
    Head {
        bytes: [u8; 9],
        seen: usize,
    },
    Frame(Frame),
    /// No HTTP/2, or none that we understand.
    Elsewhere,
}

/// The rest of a frame.
#[derive(Debug)]
struct Frame {
    left: usize,
    /// Of a block of headers: bytes in front of it.
    before: usize,
    /// The first byte in front says how much padding is behind.
    padded: bool,
    padding: usize,
    is_block: bool,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self { place: Place::Preface { seen: 0 }, fields: Fields::Start }
    }

    /// Mends the next bytes of the connection, in place.
    pub(crate) fn mend(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &mut bytes[taken..];
        }
    }

    /// Looks at some of the bytes, at least one; how many.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.place {
            Place::Elsewhere => bytes.len(),
            Place::Preface { seen } => {
                if PREFACE[*seen] == bytes[0] {
                    *seen += 1;
                    if *seen == PREFACE.len() {
                        self.place = Place::next();
                    }
                } else {
                    self.place = Place::Elsewhere;
                }
                1
            }
            Place::Head { bytes: head, seen } => {
                head[*seen] = bytes[0];
                *seen += 1;
                if *seen == head.len() {
                    let head = *head;
                    if head[3] == HEADERS {
                        self.fields = Fields::Start;
                    }
                    self.place = Place::after_head(head);
                }
                1
            }
            Place::Frame(frame) => {
                let taken = frame.step(bytes, &mut self.fields);
                if matches!(self.fields, Fields::Lost) {
                    self.place = Place::Elsewhere;
                } else if frame.left == 0 {
                    self.place = Place::next();
                }
                taken
            }
        }
    }
}

impl Place {
    fn next() -> Self {
        Self::Head { bytes: [0; 9], seen: 0 }
    }

    fn after_head([a, b, c, kind, flags, ..]: [u8; 9]) -> Self {
        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let has = |flag: u8| kind == HEADERS && flags & flag != 0;
        let before = usize::from(has(PADDED)) + if has(PRIORITY) { 5 } else { 0 };
        let is_block = matches!(kind, HEADERS | CONTINUATION);
        match left {
            0 => Self::next(),
            _ => Self::Frame(Frame { left, before, padded: has(PADDED), padding: 0, is_block }),
        }
    }
}

impl Frame {
    fn step(&mut self, bytes: &mut [u8], fields: &mut Fields) -> usize {
        let taken = if self.is_block && self.before > 0 {
            if std::mem::take(&mut self.padded) {
                self.padding = bytes[0].into();
            }
            self.before -= 1;
            1
        } else if self.is_block && self.left > self.padding {
            let taken = bytes.len().min(self.left - self.padding);
            (0..taken).for_each(|at| fields.step(bytes, at));
            taken
        } else {
            bytes.len().min(self.left)
        };
        self.left -= taken;
        taken
    }
}

/// Where in a block of header fields the next byte stands.
#[derive(Debug, Clone, Copy)]
enum Fields {
    Start,
    /// In the middle of an integer that did not fit its first byte.
    Integer {
        value: usize,
        shift: u32,
        of: Of,
    },
    /// Before a string.
    Length(Text),
    Inside {
        left: usize,
        text: Text,
        huffman: Option<Huffman>,
    },
    /// An integer that is none.
    Lost,
}

/// What an integer is of.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// A field of the tables, or the size of one: nothing follows.
    Whole,
    /// The name of a field, 0 where it is spelt.
    Name,
    Length {
        text: Text,
        huffman: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Text {
    /// How many bytes of it are those of `:authority`; none any more after another one.
    Name {
        like: Option<usize>,
    },
    Value {
        authority: bool,
    },
}

impl Fields {
    /// The byte at this place is next; those before it are in reach.
    fn step(&mut self, bytes: &mut [u8], at: usize) {
        let byte = bytes[at];
        *self = match *self {
            Self::Lost => Self::Lost,
            Self::Start => match byte {
                b if b & 0x80 != 0 => Self::integer(b, 7, Of::Whole),
                b if b & 0x40 != 0 => Self::integer(b, 6, Of::Name),
                b if b & 0x20 != 0 => Self::integer(b, 5, Of::Whole),
                b => Self::integer(b, 4, Of::Name),
            },
            // 2^28 is more than any frame has.
            Self::Integer { shift, .. } if shift > 21 => Self::Lost,
            Self::Integer { value, shift, of } => {
                let value = value + (usize::from(byte & 0x7f) << shift);
                if byte & 0x80 == 0 { Self::known(value, of) } else { Self::Integer { value, shift: shift + 7, of } }
            }
            Self::Length(text) => Self::integer(byte, 7, Of::Length { text, huffman: byte & 0x80 != 0 }),
            Self::Inside { left, text, huffman } => {
                let text = text.with(byte);
                let huffman = match (text, huffman) {
                    (Text::Value { authority: true }, Some(code)) => Some(code.step(bytes, at)),
                    (Text::Value { authority: true }, None) => {
                        if !may_be_in_a_host(byte) {
                            bytes[at] = b'-';
                        }
                        None
                    }
                    (_, huffman) => huffman,
                };
                Self::inside(left - 1, text, huffman)
            }
        }
    }

    /// An integer begins, in the last `bits` of a byte.
    fn integer(byte: u8, bits: u32, of: Of) -> Self {
        let most = (1_usize << bits) - 1;
        match usize::from(byte) & most {
            value if value < most => Self::known(value, of),
            value => Self::Integer { value, shift: 0, of },
        }
    }

    fn known(value: usize, of: Of) -> Self {
        match (of, value) {
            (Of::Whole, _) => Self::Start,
            (Of::Name, 0) => Self::Length(Text::Name { like: Some(0) }),
            (Of::Name, index) => Self::Length(Text::Value { authority: index == AUTHORITY }),
            (Of::Length { text, huffman }, left) => Self::inside(left, text, huffman.then(Huffman::default)),
        }
    }

    fn inside(left: usize, text: Text, huffman: Option<Huffman>) -> Self {
        match (left, text) {
            (0, Text::Name { like }) => Self::Length(Text::Value { authority: like == Some(SPELT.len()) }),
            (0, Text::Value { .. }) => Self::Start,
            _ => Self::Inside { left, text, huffman },
        }
    }
}

impl Text {
    /// After one more byte of it. A name in Huffman's code is not known again; nobody spells this one so.
    fn with(self, byte: u8) -> Self {
        match self {
            Self::Name { like } => Self::Name { like: like.filter(|n| SPELT.get(*n) == Some(&byte)).map(|n| n + 1) },
            value @ Self::Value { .. } => value,
        }
    }
}

/// What the HTTP library takes in an authority, less what has a meaning there.
fn may_be_in_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']')
}

/// A string in Huffman's code, bit by bit. All that is in a path has codes of 5 to 8 bits; `%`, `/` and `-` have 6.
#[derive(Debug, Clone, Copy, Default)]
struct Huffman {
    code: u8,
    bits: u32,
    /// A longer code has come: it is passed on from there.
    lost: bool,
}

impl Huffman {
    const PERCENT: u8 = 0x15;
    const SLASH: u8 = 0x18;
    const DASH: u8 = 0x16;

    fn step(mut self, bytes: &mut [u8], at: usize) -> Self {
        for bit in (0..8).rev() {
            if self.lost {
                break;
            }
            self.code = self.code << 1 | (bytes[at] >> bit & 1);
            self.bits += 1;
            match (self.bits, self.code) {
                (5, ..=0x09) | (6, 0x14..=0x2d) | (7, 0x5c..=0x7b) | (8, 0xf8..=0xfd) => {
                    if self.bits == 6 && matches!(self.code, Self::PERCENT | Self::SLASH) {
                        self.replace(bytes, at, bit);
                    }
                    (self.code, self.bits) = (0, 0);
                }
                (8, _) => self.lost = true,
                _ => {}
            }
        }
        self
    }

    /// Turns the code that ends with this bit into that of a dash. Its beginning may be in the byte before; where that
    /// was read by itself and is gone, the code stays as it is, and the client meets what it met without us.
    fn replace(self, bytes: &mut [u8], at: usize, bit: u32) {
        let [before, here] = (u16::from(self.code ^ Self::DASH) << bit).to_be_bytes();
        if before == 0 || at > 0 {
            bytes[at] ^= here;
        }
        if before != 0 && at > 0 {
            bytes[at - 1] ^= before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of headers.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [.., a, b, c] = (payload.len() as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// `:method: POST`, `:authority` as given, by its index and spelt, `te: trailers` with a spelt name.
    fn block(authority: &[u8], huffman: bool) -> Vec<u8> {
        let length = [authority.len() as u8 | if huffman { 0x80 } else { 0 }];
        let indexed = [&[0x83, 0x41], &length[..], authority].concat();
        let spelt = [&b"\x40\x0a:authority"[..], &length, authority].concat();
        [&indexed[..], &spelt, b"\x00\x02te\x08trailers"].concat()
    }

    /// Mended whole, in halves cut at each place, and byte by byte.
    fn mended(stream: &[u8]) -> Vec<u8> {
        let mut whole = stream.to_vec();
        Authority::new().mend(&mut whole);
        for cut in 0..stream.len() {
            let mut halves = stream.to_vec();
            let mut authority = Authority::new();
            authority.mend(&mut halves[..cut]);
            authority.mend(&mut halves[cut..]);
            assert_eq!(halves.len(), whole.len());
        }
        whole
    }

    fn check(authority: &[u8], expected: &[u8], huffman: bool) {
        let of = |authority: &[u8]| {
            let padded = [&[3, 0, 0, 0, 0, 9][..], &block(authority, huffman), &[b'%'; 3]].concat();
            let (first, second) = (block(authority, huffman), block(authority, huffman));
            let parts = [
                PREFACE.to_vec(),
                frame(4, 0, b"\x00%/%/%"),
                frame(HEADERS, 4, &first),
                frame(0, 0, b"A\x03%/%"),
                frame(HEADERS, PADDED | PRIORITY | 4, &padded),
                frame(HEADERS, 0, &second[..5]),
                frame(CONTINUATION, 4, &second[5..]),
            ];
            parts.concat()
        };
        let (given, expected) = (mended(&of(authority)), of(expected));
        assert_eq!(given, expected, "{}", String::from_utf8_lossy(&given));
    }

    #[test]
    fn what_cannot_be_a_host_becomes_one_of_the_same_length() {
        check(b"run%2Fuser%2Fre.sock", b"run-2Fuser-2Fre.sock", false);
        check(b"/run/user/re.sock", b"-run-user-re.sock", false);
        check(b"localhost:50051", b"localhost:50051", false);
        check(b"[::1]:80", b"[::1]:80", false);
        check(b"", b"", false);
    }

    #[test]
    fn every_other_header_stays() {
        // `:path` (4), and a value that is refused nowhere.
        let payload =
            b"\x83\x44\x06/a%2Fb\x41\x01x\x40\x0b:authority2\x02%%\x40\x0a:authoritx\x02%%\x40\x05:path\x02/%";
        let stream = [PREFACE, &frame(HEADERS, 4, payload)].concat();
        assert_eq!(mended(&stream), stream);
    }

    #[test]
    fn other_protocols_stay() {
        for stream in [&b"GET /cas/%2F HTTP/1.1\r\nHost: a%b\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nsm%", b"", b"\xff%/"]
        {
            assert_eq!(mended(stream), stream);
        }
    }

    #[test]
    fn integers_that_never_end_are_left_alone() {
        let payload = [&[0x41, 0x7f][..], &[0xff; 12], b"%%%%"].concat();
        let stream = [PREFACE, &frame(HEADERS, 4, &payload)].concat();
        assert_eq!(mended(&stream), stream);
    }

    #[test]
    fn the_shorter_codes_of_huffman_are_understood() {
        // By RFC 7541, B: `/` 011000, `t` 01001, `m` 101001, `p` 101011, `-` 010110, `%` 010101, `2` 00010, `F` 1100001.
        check(&bits("011000 01001 101001 101011 011000 01001"), &bits("010110 01001 101001 101011 010110 01001"), true);
        for shift in 0..8 {
            let before = "01001 ".repeat(shift);
            let code = |slash: &str| bits(&format!("{before}{slash} 00010 1100001 {slash} 101001"));
            check(&code("010101"), &code("010110"), true);
        }
    }

    /// Bits as bytes, filled up with ones.
    fn bits(text: &str) -> Vec<u8> {
        let mut bits: Vec<u8> = text.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        bits.resize(bits.len().next_multiple_of(8), 1);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
    }
}
