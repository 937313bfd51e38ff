//! Just enough of Rust's grammar to see which names a source file uses, outside comments, literals and tests.

/// A word or a sign of a source file, with its line counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Splits a source file into identifiers and single signs; comments and literals are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let letters: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < letters.len() {
        let end = past_comment_or_literal(&letters, at);
        if end > at {
            line += letters[at..end]
                .iter()
                .filter(|&&letter| letter == '\n')
                .count();
            at = end;
            continue;
        }
        let letter = letters[at];
        if letter == '_' || letter.is_alphanumeric() {
            let end = word_end(&letters, at);
            found.push(Token {
                text: letters[at..end].iter().collect(),
                line,
            });
            at = end;
            continue;
        }
        if letter == '\n' {
            line += 1;
        } else if !letter.is_whitespace() {
            found.push(Token {
                text: letter.to_string(),
                line,
            });
        }
        at += 1;
    }
    found
}

fn word_end(letters: &[char], from: usize) -> usize {
    (from..letters.len())
        .find(|&at| letters[at] != '_' && !letters[at].is_alphanumeric())
        .unwrap_or(letters.len())
}

/// The position after the comment or literal that begins here, or `at` itself where none begins.
fn past_comment_or_literal(letters: &[char], at: usize) -> usize {
    let next = |offset: usize| letters.get(at + offset).copied();
    match (letters[at], next(1)) {
        ('/', Some('/')) => (at..letters.len())
            .find(|&here| letters[here] == '\n')
            .unwrap_or(letters.len()),
        ('/', Some('*')) => past_block_comment(letters, at),
        ('"', _) => past_quoted(letters, at + 1, '"'),
        ('\'', Some('\\')) => past_quoted(letters, at + 1, '\''),
        // 'a' is a literal, 'a alone is a lifetime.
        ('\'', Some(_)) if next(2) == Some('\'') => at + 3,
        ('r', Some('"' | '#')) if !in_word(letters, at) => past_raw(letters, at, at + 1),
        ('b' | 'c', Some('r')) if !in_word(letters, at) => past_raw(letters, at, at + 2),
        _ => at,
    }
}

/// Whether the letter before belongs to the same word, as in `for"` or `br#`.
fn in_word(letters: &[char], at: usize) -> bool {
    at > 0 && (letters[at - 1] == '_' || letters[at - 1].is_alphanumeric())
}

fn past_block_comment(letters: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at + 1 < letters.len() {
        match (letters[at], letters[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    letters.len()
}

fn past_quoted(letters: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < letters.len() {
        match letters[at] {
            '\\' => at += 2,
            letter if letter == quote => return at + 1,
            _ => at += 1,
        }
    }
    letters.len()
}

/// A raw string whose `#`s or quote begin at `hashes`; a raw identifier such as `r#type` is none.
fn past_raw(letters: &[char], start: usize, hashes: usize) -> usize {
    let count = letters[hashes..]
        .iter()
        .take_while(|&&letter| letter == '#')
        .count();
    if letters.get(hashes + count) != Some(&'"') {
        return start;
    }
    let mut at = hashes + count + 1;
    while at < letters.len() {
        let closes = letters[at] == '"'
            && letters[at + 1..]
                .iter()
                .take(count)
                .filter(|&&l| l == '#')
                .count()
                == count;
        if closes {
            return at + 1 + count;
        }
        at += 1;
    }
    letters.len()
}

/// Leaves out every item under `#[cfg(test)]`: tests may use what the code itself must not.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let window = &tokens[at..tokens.len().min(at + MARK.len())];
        if window.iter().map(|token| token.text.as_str()).eq(MARK) {
            at = item_end(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The position after the item that begins at `from`: its `;`, or the brace that closes its body.
fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return at + 1;
        }
    }
    tokens.len()
}

/// The modules of `std` (or `core`, `alloc`) that are named, also inside `use std::{…}`, with their lines.
pub(crate) fn modules_of<'tokens>(library: &str, tokens: &'tokens [Token]) -> Vec<&'tokens Token> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if text(at) != library || text(at + 1) != ":" || text(at + 2) != ":" {
            continue;
        }
        if text(at + 3) != "{" {
            found.extend(tokens.get(at + 3));
            continue;
        }
        let mut depth = 0;
        for (here, token) in tokens.iter().enumerate().skip(at + 3) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 && matches!(text(here - 1), "{" | ",") => found.push(token),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        without_tests(&tokens(source))
            .into_iter()
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let source = "// tokio\n/* a /* tokio */ b */ let x = \"tokio\\\"\"; let y = r#\"tokio \" \"#; f('\"', '\\'', b\"tokio\");";
        let found = words(source);
        assert!(!found.iter().any(|word| word == "tokio"), "{found:?}");
        assert!(found.iter().any(|word| word == "y"), "{found:?}");
    }

    #[test]
    fn lifetimes_and_raw_names_are_not_literals() {
        assert_eq!(
            words("fn f<'a>(r#type: &'a T)").join(" "),
            "fn f < ' a > ( r # type : & ' a T )"
        );
    }

    #[test]
    fn tests_are_left_out_and_the_code_after_them_is_not() {
        let found = words(
            "fn a() {} #[cfg(test)] mod tests { fn b() { {} } } fn c() {} #[cfg(test)] mod d; fn e() {}",
        );
        assert_eq!(found.join(""), "fna(){}fnc(){}fne(){}");
    }

    #[test]
    fn grouped_imports_are_seen_at_their_first_level() {
        let found =
            tokens("use std::{fs::File, fmt::{self, net}, thread};\nlet x = std::env::var(y);");
        let names: Vec<(&str, usize)> = modules_of("std", &found)
            .into_iter()
            .map(|token| (token.text.as_str(), token.line))
            .collect();
        assert_eq!(names, [("fs", 1), ("fmt", 1), ("thread", 1), ("env", 2)]);
    }
}
