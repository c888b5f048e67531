//! Masking: what of a personal value may be seen, and what of a rejected row.
//!
//! A mask leaves enough to tell two values apart at a glance and too little to find the person. It works on characters,
//! never on bytes, and a value too short to hide anything in is hidden whole.

use std::borrow::Cow;

use crate::config::source::Mask;

/// Digits of a phone number left at its beginning and its end, as in `138****8000`.
const PHONE_HEAD: usize = 3;
const PHONE_TAIL: usize = 4;
/// At least as many characters are hidden before a phone number shows both ends.
const PHONE_HIDDEN: usize = 4;
/// How much of a value's shape is worth showing.
const SHAPE_CHARS: usize = 40;

/// The value as it lands.
pub fn masked(mask: Mask, text: &str) -> Cow<'_, str> {
    match mask {
        Mask::None => Cow::Borrowed(text),
        _ if text.is_empty() => Cow::Borrowed(""),
        Mask::Phone => Cow::Owned(phone(text)),
        Mask::Email => Cow::Owned(email(text)),
        Mask::Name => Cow::Owned(name(text)),
    }
}

/// `138****8000`; of a shorter number at most the last quarter is left.
fn phone(text: &str) -> String {
    let count = text.chars().count();
    let (head, tail) =
        if count >= PHONE_HEAD + PHONE_HIDDEN + PHONE_TAIL { (PHONE_HEAD, PHONE_TAIL) } else { (0, count / 4) };
    let head = text.chars().take(head);
    head.chain("****".chars()).chain(text.chars().skip(count - tail)).collect()
}

/// `z***@example.com`; what has no `@` shows its first character only.
fn email(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((local, domain)) => format!("{}***@{domain}", first_of_several(local)),
        None => format!("{}***", first_of_several(text)),
    }
}

/// `张**`
fn name(text: &str) -> String {
    format!("{}**", first_of_several(text))
}

/// The first character, unless it is all there is.
fn first_of_several(text: &str) -> &str {
    let mut chars = text.char_indices();
    let (_, second) = (chars.next(), chars.next());
    second.map_or("", |(end, _)| &text[..end])
}

/// The bytes with each letter as `x` and each digit as `9`: enough to see what is wrong, too little to be personal.
pub fn shape(bytes: &[u8]) -> String {
    let mut shape = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shape.extend(chunk.valid().chars().map(|c| match c {
            c if c.is_ascii_digit() => '9',
            c if c.is_ascii_alphabetic() || !c.is_ascii() => 'x',
            c => c,
        }));
        shape.extend(chunk.invalid().iter().map(|_| '?'));
    }
    shape
}

/// A value for a message, quoted and of bounded length: itself, or its shape where it may be personal.
pub fn shown(bytes: &[u8], personal: bool) -> String {
    let start = &bytes[..bytes.len().min(SHAPE_CHARS * 4)];
    let text = if personal { shape(start) } else { String::from_utf8_lossy(start).into_owned() };
    let cut: String = text.chars().take(SHAPE_CHARS).flat_map(char::escape_debug).collect();
    let more = bytes.len() > start.len() || text.chars().count() > SHAPE_CHARS;
    format!("`{cut}{}`", if more { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_shows_three_and_four_digits() {
        assert_eq!(masked(Mask::Phone, "13812348000"), "138****8000");
        assert_eq!(masked(Mask::Phone, "8613812348000"), "861****8000");
    }

    #[test]
    fn a_short_phone_number_shows_its_last_quarter_at_most() {
        for (text, shown) in
            [("66778899", "****99"), ("10086", "****6"), ("110", "****"), ("", ""), ("1381234800", "****00")]
        {
            assert_eq!(masked(Mask::Phone, text), shown, "{text}");
        }
    }

    #[test]
    fn an_email_address_shows_its_first_letter_and_its_domain() {
        for (text, shown) in [
            ("zhang@example.com", "z***@example.com"),
            ("\"a@b\"@example.com", "\"***@example.com"),
            ("z@example.com", "***@example.com"),
            ("@example.com", "***@example.com"),
            ("not an address", "n***"),
            ("张三@例子.中国", "张***@例子.中国"),
            ("x", "***"),
        ] {
            assert_eq!(masked(Mask::Email, text), shown, "{text}");
        }
    }

    #[test]
    fn a_name_shows_its_first_character_whatever_the_script() {
        for (text, shown) in [("张三丰", "张**"), ("Ada", "A**"), ("张", "**"), ("😀😀", "😀**"), ("", "")] {
            assert_eq!(masked(Mask::Name, text), shown, "{text}");
        }
        assert_eq!(masked(Mask::None, "张三丰"), "张三丰");
    }

    #[test]
    fn a_shape_keeps_neither_letters_nor_digits() {
        assert_eq!(shape("张三,138-1234 a@b.c\u{1F600}".as_bytes()), "xx,999-9999 x@x.xx");
        assert_eq!(shape(b"a\xFF\xFE1"), "x??9");
        assert_eq!(shown(b"12x", true), "`99x`");
        assert_eq!(shown(b"12x\n", false), "`12x\\n`");
        assert_eq!(shown(&[b'1'; 41], false), format!("`{}…`", "1".repeat(40)));
    }
}
