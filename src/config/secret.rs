//! Text that may hold a password: it shows as `mysql://user:***@host` wherever it is printed, debug output included.

use std::fmt;

/// A text with secrets in it, as a rule a URL; only [`Secret::reveal`] gives them away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it is, for the library that connects with it and for nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole text is one URL here, so that even a password with quotes or spaces in it is found.
        f.write_str(&redact_parameters(&redact_word(&self.0)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A password alone: it never shows, and only [`Password::reveal`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password as it is, for the library that logs in with it and for nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Blots out passwords in any text: those of URLs (`://user:…@`), and the values of `password=` and its like.
pub fn redact(text: &str) -> String {
    redact_parameters(&redact_urls(text))
}

fn redact_urls(text: &str) -> String {
    let mut clear = String::with_capacity(text.len());
    for word in text.split_inclusive(ends_word) {
        let end = word.char_indices().next_back().filter(|(_, c)| ends_word(*c)).map_or(word.len(), |(at, _)| at);
        let (word, tail) = word.split_at(end);
        clear.push_str(&redact_word(word));
        clear.push_str(tail);
    }
    clear
}

/// Blots out what lies between the first `:` and the last `@`, of a URL and of what looks like a mistyped one: a password
/// with an unescaped `/` or `@` is wrong, but is still a password. Without an `@`, what is no port of a URL is what
/// somebody forgot the `@` behind. The name of a variable (`${MYSQL_PASSWORD}`) is no password.
fn redact_word(word: &str) -> String {
    let (scheme, rest) = word.find("://").map_or(("", word), |at| word.split_at(at + 3));
    match (rest.find(':'), rest.rfind('@')) {
        (Some(colon), Some(host)) if colon < host && !is_variable(&rest[colon + 1..host]) => {
            format!("{scheme}{}***{}", &rest[..=colon], &rest[host..])
        }
        (Some(_), None) if !scheme.is_empty() => format!("{scheme}{}", redact_port(rest)),
        _ => word.to_owned(),
    }
}

/// Blots out what stands in the place of a port and is none.
fn redact_port(rest: &str) -> String {
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    match authority.split_once(':') {
        Some((host, port)) if !host.starts_with('[') && !is_variable(port) && port.parse::<u16>().is_err() => {
            let end = rest.rfind('/').map_or(rest.len(), |at| at.max(host.len() + 1));
            format!("{host}:***{}", &rest[end..])
        }
        _ => rest.to_owned(),
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with("${") && text.find('}') == Some(text.len() - 1) && !text.contains(":-")
}

fn redact_parameters(text: &str) -> String {
    const NAMES: [&str; 4] = ["password=", "secret=", "token=", "secret_access_key="];
    let lower = text.to_ascii_lowercase();
    let mut clear = String::with_capacity(text.len());
    let mut done = 0;
    while done < text.len() {
        let next = NAMES.iter().filter_map(|n| lower[done..].find(n).map(|at| done + at + n.len())).min();
        let Some(value) = next else { break };
        let end = text[value..].find(|c| ends_word(c) || c == '&').map_or(text.len(), |i| value + i);
        clear.push_str(&text[done..value]);
        clear.push_str(if end > value { "***" } else { "" });
        done = end;
    }
    clear + &text[done..]
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_blotted_out_in_any_text() {
        for (text, expected) in [
            ("mysql://u:p@host:3306/mall", "mysql://u:***@host:3306/mall"),
            ("url = \"mysql://u:a@b/c@host/x\" # prod", "url = \"mysql://u:***@host/x\" # prod"),
            ("a://u:p@h, then b://v:q@i.", "a://u:***@h, then b://v:***@i."),
            ("mysql://u:${PASSWORD}@host", "mysql://u:${PASSWORD}@host"),
            ("mysql://u:${PASSWORD:-mine}@host", "mysql://u:***@host"),
            ("mysql://u@host", "mysql://u@host"),
            ("https://host:80/path", "https://host:80/path"),
            ("s3://b?region=x&secret_access_key=k7&a=b", "s3://b?region=x&secret_access_key=***&a=b"),
            ("Password=hunter2 rest", "Password=*** rest"),
            ("://", "://"),
            ("`mysql://shop:s3cret/mall`", "`mysql://shop:***/mall`"),
            ("mysql://shop:s3/cret/mall", "mysql://shop:***/mall"),
            ("mysql://shop:s3cret", "mysql://shop:***"),
            ("mysql://shop:${PASSWORD}/mall", "mysql://shop:${PASSWORD}/mall"),
            ("mysql://[::1]:3306/mall", "mysql://[::1]:3306/mall"),
            ("at mysql:/u:p@h/d, mysql//u:p@h/d", "at mysql:***@h/d, mysql//u:***@h/d"),
            ("--set a.url=mysql:u:p@h/d", "--set a.url=mysql:***@h/d"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        let secret = Secret::new("mysql://u:p@host");
        assert_eq!(format!("{secret} {secret:?}"), "mysql://u:***@host mysql://u:***@host");
        assert_eq!(secret.reveal(), "mysql://u:p@host");
        assert_eq!(Secret::new("mysql://u:a \"b@host").to_string(), "mysql://u:***@host");
    }
}
