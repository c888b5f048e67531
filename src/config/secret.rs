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
        f.write_str(&redact_parameters(&redact_urls(&self.0)))
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
///
/// A password may have quotes and spaces in it, so that nobody can tell where it ends: everything up to the last `@` of the
/// line goes. A line is rather told with too little than with half a password.
pub fn redact(text: &str) -> String {
    let clear: String = text.split_inclusive('\n').map(|line| redact_words(&redact_urls(line))).collect();
    redact_parameters(&clear)
}

/// What a login begins behind, also where the URL is mistyped.
const SCHEMES: [&str; 5] = ["://", "mysql:", "mysql//", "mariadb:", "mariadb//"];

/// Blots out the logins of a line's URLs.
fn redact_urls(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut clear = String::with_capacity(line.len());
    let mut done = 0;
    let next = |from: usize| {
        let end = |scheme: &&'static str| Some((from + lower[from..].find(*scheme)? + scheme.len(), *scheme));
        // `mysql://` is one that ends in `://`.
        SCHEMES
            .iter()
            .filter_map(end)
            .filter(|(end, scheme)| !scheme.ends_with(':') || !lower[*end..].starts_with("//"))
            .min()
    };
    while let Some((login, scheme)) = next(done) {
        clear.push_str(&line[done..login]);
        done = login;
        let rest = &line[login..];
        let secret = match scheme {
            // `mysql:u:p@host`: where the user begins and ends is anybody's guess.
            "mysql:" | "mariadb:" if rest.starts_with(char::is_whitespace) => None,
            "mysql:" | "mariadb:" => rest.rfind('@').map(|host| (0, host)),
            _ => password_in(rest),
        };
        if let Some((from, to)) = secret {
            clear.push_str(&line[login..login + from]);
            clear.push_str("***");
            done = login + to;
        }
    }
    clear + &line[done..]
}

/// Where in the text behind `://` the password is. The name of a variable (`${MYSQL_PASSWORD}`) is none, nor is a port.
fn password_in(rest: &str) -> Option<(usize, usize)> {
    let colon = rest.find(':').filter(|colon| !rest.starts_with('[') && !rest[..*colon].contains(['/', '?', ' ']))?;
    let value = &rest[colon + 1..];
    let begins = |tail: &str| tail.is_empty() || tail.starts_with(['@', '/', '?', '`', '"', '\n']);
    if value.strip_prefix("***").is_some_and(begins) || variable(value).is_some_and(|end| begins(&value[end..])) {
        return None;
    }
    let port = value.bytes().take_while(u8::is_ascii_digit).count();
    let host = value.rfind('@');
    let word = &value[..value.find(ends_word).unwrap_or(value.len())];
    let is_port = value[..port].parse::<u16>().is_ok_and(|port| port > 0);
    let ends = value[port..].is_empty() || value[port..].starts_with(['/', '?', '\n']) || host.is_none();
    if is_port && ends && !word.contains('@') {
        return None;
    }
    let end = match host {
        Some(host) => host,
        // Somebody forgot the `@`; what follows a `: ` is what a message says of the URL.
        None if value.starts_with(char::is_whitespace) => return None,
        None => value.rfind('/').unwrap_or(value.trim_end_matches('\n').len()),
    };
    Some((colon + 1, colon + 1 + end))
}

/// Where the variable ends that a text begins with, unless it has a default, which may be a password.
fn variable(text: &str) -> Option<usize> {
    let end = text.strip_prefix("${")?.find('}')? + 2;
    (!text[..end].contains(":-")).then_some(end + 1)
}

/// Blots out what lies between the first `:` and the last `@` of a word, as in a URL whose scheme is mistyped.
fn redact_words(line: &str) -> String {
    let word = |word: &str| match (word.find(':'), word.rfind('@')) {
        (Some(colon), Some(host)) if colon < host && !word.contains("://") => {
            format!("{}***{}", &word[..=colon], &word[host..])
        }
        _ => word.to_owned(),
    };
    line.split_inclusive(ends_word).map(word).collect()
}

fn redact_parameters(text: &str) -> String {
    const NAMES: [&str; 4] = ["password=", "secret=", "token=", "secret_access_key="];
    let lower = text.to_ascii_lowercase();
    let mut clear = String::with_capacity(text.len());
    let mut done = 0;
    while done < text.len() {
        let next = NAMES.iter().filter_map(|n| lower[done..].find(n).map(|at| done + at + n.len())).min();
        let Some(value) = next else { break };
        let end = match text[value..].chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => text[value + 1..].find(['\n', quote]).map_or(text.len(), |i| value + 1 + i),
            None => text[value..].find(|c| ends_word(c) || c == '&').map_or(text.len(), |i| value + i),
        };
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
            ("a://u:p@h, then b://v:q@i.", "a://u:***@i."),
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
            ("at mysql:/u:p@h/d, or so", "at mysql:***@h/d, or so"),
            ("at mysql//u:p@h/d, or so", "at mysql//u:***@h/d, or so"),
            ("--set a.url=mysql:u:p@h/d", "--set a.url=mysql:***@h/d"),
            ("password='a b' rest", "password=***' rest"),
            ("mysql://u:***@h/d: as 'shop'@'%'", "mysql://u:***@h/d: as 'shop'@'%'"),
            ("mysql://h:3306/d: as 'shop'@'%'", "mysql://h:3306/d: as 'shop'@'%'"),
            ("MySQL: 'shop'@'%' is unknown", "MySQL: 'shop'@'%' is unknown"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn a_password_with_quotes_and_spaces_in_it_goes_whole() {
        for odd in
            ["pa'rt", "pa\"rt", "pa rt", "pa<rt", "pa>rt", "pa|rt", "pa`rt", "12'rt pa", "pa://rt", "pa:@rt", "pa/ rt?"]
        {
            // What begins as a port does, and has no `@`, is taken for one; what follows a `/` for the database.
            let forgotten = odd.trim_start_matches("12'").replace(['/', '@'], "");
            for text in [
                format!("mysql://shop:{odd}@host/mall"),
                format!("    url = \"mysql://shop:{odd}@host/mall\" # prod\n  ^ here"),
                format!("--set a.url=mysql:/shop:{odd}@host/mall --quiet"),
                format!("mysql//shop:{odd}@host/mall"),
                format!("mysql://shop:{forgotten}"),
                format!("mysql://shop:{forgotten}/mall"),
            ] {
                let clear = redact(&text);
                assert!(!clear.contains("pa") && !clear.contains("rt") && clear.contains("***"), "{text}: {clear}");
            }
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
