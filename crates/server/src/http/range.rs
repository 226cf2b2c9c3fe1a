//! The part of a blob that a client wants (RFC 9110, 14).

/// What a `Range` asks for of so many bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// All: none was asked for, or in a way that may be passed over.
    Whole,
    /// From the first to before the second.
    Some(u64, u64),
    /// Nothing that there is.
    Nothing,
}

/// Parses the header; only one range is taken, as RFC 9110 allows.
pub(super) fn of(header: Option<&[u8]>, size: u64) -> Part {
    let text = header.and_then(|header| std::str::from_utf8(header).ok());
    let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")?.trim().split_once('-')) else {
        return Part::Whole;
    };
    match (number(first), number(last)) {
        (Some(first), _) if first >= size && is_number_or_empty(last) => Part::Nothing,
        (Some(first), Some(last)) if last >= first => Part::Some(first, size.min(last.saturating_add(1))),
        (Some(first), None) if last.is_empty() => Part::Some(first, size),
        (None, Some(0)) if first.is_empty() => Part::Nothing,
        (None, Some(last)) if first.is_empty() && size > 0 => Part::Some(size.saturating_sub(last), size),
        _ => Part::Whole,
    }
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_number_or_empty(text: &str) -> bool {
    text.is_empty() || number(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_all_forms() {
        for (header, size, part) in [
            ("bytes=0-4", 10, Part::Some(0, 5)),
            ("bytes=5-", 10, Part::Some(5, 10)),
            ("bytes=0-99", 10, Part::Some(0, 10)),
            ("bytes=-3", 10, Part::Some(7, 10)),
            ("bytes=-30", 10, Part::Some(0, 10)),
            ("bytes=9-9", 10, Part::Some(9, 10)),
            ("bytes=10-", 10, Part::Nothing),
            ("bytes=0-", 0, Part::Nothing),
            ("bytes=-0", 10, Part::Nothing),
            ("bytes=5-4", 10, Part::Whole),
            ("bytes=0-1,3-4", 10, Part::Whole),
            ("bytes=x-1", 10, Part::Whole),
            ("bytes=", 10, Part::Whole),
            ("lines=1-2", 10, Part::Whole),
            ("bytes=0-18446744073709551615", 10, Part::Some(0, 10)),
            ("bytes=-5", 0, Part::Whole),
        ] {
            assert_eq!(of(Some(header.as_bytes()), size), part, "{header} of {size}");
        }
        assert_eq!(of(None, 3), Part::Whole);
    }
}
