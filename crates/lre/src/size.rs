//! Sizes as people write them: `50 GiB`, `800MB`, `1.5T`, `1073741824`.

/// Names of units and what they stand for. A letter alone is binary, as for `du`, `truncate` and the like.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
];

/// How many bytes were meant.
///
/// # Errors
/// What is wrong, with examples of what is right.
pub fn parse(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..end], trimmed[end..].trim_start().to_ascii_lowercase());
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let bytes = unit.and_then(|unit| match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(unit),
        Some((whole, part)) => {
            // A part of a byte is nobody's, and nine digits of one are enough.
            let digits = u32::try_from(part.len()).ok().filter(|digits| (1..=9).contains(digits))?;
            let part = u128::from(part.parse::<u64>().ok()?) * u128::from(unit) / 10_u128.pow(digits);
            whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
        }
    });
    bytes.ok_or_else(|| format!("`{text}` is not a size: write bytes, or a number with a unit: 50 GiB, 800 MB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1073741824", 1 << 30),
            ("50 GiB", 50 << 30),
            ("50GiB", 50 << 30),
            ("50g", 50 << 30),
            ("800MB", 800_000_000),
            (" 1.5 TiB ", 3 << 39),
            ("0.5k", 512),
            ("12 b", 12),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GiB", "-1", "1e9", "1.2.3 MB", "1. MB", "5 apples", "99999999999 TiB", "1.0000000001 G", "é"]
        {
            assert!(parse(bad).unwrap_err().contains("is not a size"), "{bad}");
        }
    }
}
