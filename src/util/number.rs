//! The last number of a text that a model wrote, and what numbers are written with. Linear in the text; takes any text.
//!
//! What is only a piece of a number is none: of `1/2`, `10^5` or `2024-05-17` the last digits say nothing.

/// Whether a character is written for plus or minus before a number: ASCII, the minus sign, and the dash and the
/// compatibility forms that stand in for it.
pub fn is_sign(c: char) -> bool {
    matches!(c, '+' | '-' | '\u{2212}' | '\u{2013}' | '\u{FE63}' | '\u{FF0D}')
}

/// Whether a character is a currency sign (general category Sc, without the cent signs, which divide by a hundred).
pub fn is_currency_sign(c: char) -> bool {
    matches!(c,
        '$' | '\u{A3}'..='\u{A5}' | '\u{058F}' | '\u{060B}' | '\u{07FE}' | '\u{07FF}' | '\u{09F2}' | '\u{09F3}'
        | '\u{0AF1}' | '\u{0BF9}' | '\u{0E3F}' | '\u{17DB}' | '\u{20A0}'..='\u{20C0}' | '\u{A838}' | '\u{FDFC}'
        | '\u{FE69}' | '\u{FF04}' | '\u{FFE1}' | '\u{FFE5}' | '\u{FFE6}')
}

/// Whether a character is a space that keeps the digits of one number together: no-break, figure, thin or narrow.
pub fn is_digit_space(c: char) -> bool {
    matches!(c, '\u{A0}' | '\u{2007}' | '\u{2009}' | '\u{202F}')
}

/// How LaTeX writes what stands between the digits of one number, and what it stands for: `18{,}000` is 18,000, `18\,000`
/// has a thin space. The longer ones first.
pub const LATEX: [(&str, &str); 8] =
    [(",\\!", ","), ("{,}", ","), ("{.}", "."), ("\\,", " "), ("\\;", " "), ("\\:", " "), ("\\ ", " "), ("\\!", "")];

/// The last number in a text, as written: digits with the points, commas, apostrophes, spaces and LaTeX's separators
/// ([`LATEX`]) between them, an exponent, and a sign before them or before their currency sign.
///
/// A sign belongs to the number only when nothing stands before it that it could join: `10-5` ends with 5, `= -5` with -5.
/// A plain space belongs to it only between groups of three digits (`12 345`, but not `2020 2021` or `1 2 345`). What is
/// between digits is otherwise not judged here, so that `1.2.3` comes back whole, and is then no number.
///
/// # Errors
/// Why there is no number: no digit, or the last ones are a piece of something else (a fraction, a power, a root, a date, a
/// time, a ratio), or stand in brackets as accounts write what is owed: `(1,234)`. An earlier number is not taken for it.
pub fn last(text: &str) -> Result<&str, &'static str> {
    let end = text.rfind(|c: char| c.is_ascii_digit()).ok_or("there is no number")? + 1;
    let mut start = before_digits(text, end);
    let exponent = text[..start].strip_suffix(['+', '-']).unwrap_or(&text[..start]);
    if let Some(mantissa) = exponent.strip_suffix(['e', 'E'])
        && ends_with_digit(mantissa)
    {
        start = before_digits(text, mantissa.len());
    }
    while let Some(width) = separator(&text[..start]) {
        start = before_digits(text, start - width);
    }
    if let Some(first) = before_spaces(text, start, end) {
        start = first;
    }
    if let Some(head) = text[..start].strip_suffix('.')
        && !head.ends_with(|c: char| c == '.' || c.is_alphanumeric())
    {
        start -= 1;
    }
    let digits = start;
    let head = text[..start].strip_suffix(is_currency_sign).unwrap_or(&text[..start]);
    if let Some(before) = head.strip_suffix(is_sign)
        && !before.ends_with(|c: char| c.is_alphanumeric() || is_sign(c) || matches!(c, ')' | ']' | '}' | '%'))
    {
        start = before.len();
    }
    let is_signed = text[start..].starts_with(is_sign);
    match part_of(&text[..start], &text[digits..end], &text[end..], is_signed) {
        Some(whole) => Err(whole),
        None => Ok(&text[start..end]),
    }
}

/// The width of a separator at the end of a text that has a digit before it; plain spaces apart.
fn separator(text: &str) -> Option<usize> {
    let latex = LATEX.iter().map(|(written, _)| *written).find(|written| text.ends_with(written)).map(str::len);
    let one = || {
        let c = text.chars().next_back()?;
        (matches!(c, '.' | ',' | '\'' | '\u{2019}') || is_digit_space(c)).then(|| c.len_utf8())
    };
    latex.or_else(one).filter(|width| ends_with_digit(&text[..text.len() - width]))
}

/// Where a number begins whose groups of three digits are set apart by plain spaces, of which the last has been read;
/// `None` when it is no such number.
fn before_spaces(text: &str, start: usize, end: usize) -> Option<usize> {
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
    let group = text[start..end].split(['.', ',']).next().unwrap_or_default();
    if !is_group(group) {
        return None;
    }
    let mut first = start;
    while let Some(before) = text[..first].strip_suffix(' ').filter(|before| ends_with_digit(before)) {
        let begin = before_digits(text, before.len());
        let digits = &text[begin..before.len()];
        if digits.len() > 3 {
            break;
        }
        first = begin;
        if digits.len() < 3 {
            break;
        }
    }
    let begins = |c: char| {
        c.is_alphanumeric() || is_digit_space(c) || matches!(c, '.' | ',' | '\'' | '\u{2019}' | '/' | '^' | '_')
    };
    let (before, digits) = text.split_at(first);
    // A list of numbers, `1 2 345`, or a piece of another number before it.
    let is_other = before.strip_suffix(' ').is_some_and(ends_with_digit) || before.ends_with(begins);
    (first < start && !digits.starts_with('0') && !is_other).then_some(first)
}

/// What a number is only a part of, by what stands before and after it.
fn part_of(before: &str, digits: &str, after: &str, is_signed: bool) -> Option<&'static str> {
    let is_vulgar = |c: char| matches!(c, '\u{BC}'..='\u{BE}' | '\u{2150}'..='\u{215E}' | '\u{2044}');
    let is_raised = |c: char| matches!(c, '\u{B2}' | '\u{B3}' | '\u{B9}' | '\u{2070}'..='\u{207B}');
    // `10^-5` and `$1/$2`: what the sign and the currency belong to.
    let bare = before.strip_suffix(is_currency_sign).unwrap_or(before);
    let bare = bare.strip_suffix(is_sign).unwrap_or(bare);
    if after.starts_with(is_raised) || is_base(after) || is_exponent(bare, after) {
        return Some("the last number is part of a power");
    }
    let over =
        bare.trim_end_matches(' ').strip_suffix(['/', '\u{2044}', '\u{2215}']).map(|over| over.trim_end_matches(' '));
    let is_over =
        |over: &str| over.ends_with(|c: char| c.is_ascii_digit() || is_raised(c) || matches!(c, ')' | '}' | ']'));
    if after.starts_with(is_vulgar) || over.is_some_and(is_over) || is_argument_of(bare, &["frac", "binom"]) {
        return Some("the last number is part of a fraction or a date");
    }
    if bare.ends_with('\u{221A}') || bare.ends_with("\u{221A}(") || is_argument_of(bare, &["sqrt"]) {
        return Some("the last number is part of a root");
    }
    if before.strip_suffix(':').is_some_and(ends_with_digit) {
        return Some("the last number is part of a time or a ratio");
    }
    if let Some(head) = before.strip_suffix(is_sign).filter(|head| ends_with_digit(head))
        && text_before_digits(head).strip_suffix(is_sign).is_some_and(ends_with_digit)
    {
        return Some("the last number is part of a date or a code");
    }
    let opening = before.strip_suffix(is_currency_sign).unwrap_or(before).strip_suffix('(');
    if let Some(opening) = opening.filter(|_| after.starts_with(')') && !is_signed) {
        // A number that is said again: `eighteen (18)`, or the argument of something: `f(18)`.
        let is_said_again = opening.trim_end().ends_with(char::is_alphabetic);
        if !is_said_again || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some("the last number stands in brackets, which may mean minus");
        }
    }
    None
}

/// Whether a number is raised to what follows: a letter, as in `2^n` and `2^{-n}`. Not `90^\circ` or `18^{th}`.
fn is_base(after: &str) -> bool {
    let Some(exponent) = after.strip_prefix('^') else { return false };
    let exponent = exponent.strip_prefix(['{', '(']).unwrap_or(exponent);
    let exponent = exponent.strip_prefix(is_sign).unwrap_or(exponent);
    exponent.chars().take_while(|c| c.is_alphabetic()).take(2).count() == 1
}

/// Whether what stands before a number raises something to it.
fn is_exponent(before: &str, after: &str) -> bool {
    let caret = before.strip_suffix(['{', '(']).unwrap_or(before).strip_suffix('^');
    if let Some(base) = caret {
        // `[^1]` is a footnote.
        return !base.ends_with('[');
    }
    // `**5**` is bold.
    let base = before.strip_suffix("**").filter(|_| !after.starts_with("**"));
    base.is_some_and(|base| base.ends_with(|c: char| c.is_ascii_digit() || c == ')'))
}

/// Whether a number is an argument of one of LaTeX's commands: `\frac{1}{2}`, `\frac12`, `\frac{1}2`, `\sqrt[3]{2}`.
fn is_argument_of(before: &str, commands: &[&str]) -> bool {
    let is_command = |text: &str| {
        let name = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        // `\dfrac` and `\tbinom` are forms of the same.
        let command = &text[name.len()..];
        name.ends_with('\\') && commands.iter().any(|known| command.ends_with(known))
    };
    let open = before.strip_suffix('{').unwrap_or(before);
    if is_command(open) {
        return true;
    }
    let [opener, closer] = if open.ends_with(']') { ['[', ']'] } else { ['{', '}'] };
    open.ends_with(closer) && before_brackets(open, opener, closer).is_some_and(is_command)
}

/// What stands before the brackets at the end of a text; `None` where they are not balanced or hold very much.
fn before_brackets(text: &str, opener: char, closer: char) -> Option<&str> {
    const HELD: usize = 200;
    let mut depth = 0_usize;
    for (index, c) in text.char_indices().rev().take(HELD) {
        if c == closer {
            depth += 1;
        } else if c == opener {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(&text[..index]);
            }
        }
    }
    None
}

fn ends_with_digit(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_digit())
}

/// Where the run of digits that ends at `end` begins.
fn before_digits(text: &str, end: usize) -> usize {
    text_before_digits(&text[..end]).len()
}

fn text_before_digits(text: &str) -> &str {
    text.trim_end_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_number() {
        for (text, expected) in [
            ("The answer is 1,234.50.", "1,234.50"),
            ("between 3 and 4", "4"),
            ("10-5", "5"),
            ("3–4", "4"),
            ("= -5", "-5"),
            ("x = -5", "-5"),
            ("-5", "-5"),
            ("it is −7 °C", "−7"),
            ("a loss of -$5.20!", "-$5.20"),
            ("costs $5", "5"),
            ("costs $18,000.50", "18,000.50"),
            ("**-5**", "-5"),
            ("is **5**", "5"),
            ("10**5**", "5"),
            ("(3)-4", "4"),
            ("--4", "4"),
            (".5 l", ".5"),
            ("v.5", "5"),
            ("1e3 of 2.5E-7", "2.5E-7"),
            ("1e5", "1e5"),
            ("50%", "50"),
            ("2020 2021", "2021"),
            ("1\u{202f}234,5 €", "1\u{202f}234,5"),
            ("1'234", "1'234"),
            ("version 1.2.3", "1.2.3"),
            ("17.05.2024", "17.05.2024"),
            ("size3", "3"),
            ("the 18th", "18"),
            ("3,", "3"),
            ("Answer:30", "30"),
            ("$5/hour", "5"),
            // Groups.
            ("The total is 18{,}000.", "18{,}000"),
            ("$18\\,000$", "18\\,000"),
            ("$-10,\\!000{.}5$", "-10,\\!000{.}5"),
            ("1\\;234\\:567", "1\\;234\\:567"),
            ("Total: 12 345", "12 345"),
            ("-1 234 567.89", "-1 234 567.89"),
            ("(12 345 or so)", "12 345"),
            ("1\u{2009}234\u{a0}567", "1\u{2009}234\u{a0}567"),
            ("1 234 and 2020 345", "345"),
            ("1 2 345", "345"),
            ("1.5 200", "200"),
            ("1,500 200", "200"),
            ("A4 200", "200"),
            ("0 345", "345"),
            ("12 3456", "3456"),
            ("12 34", "34"),
            ("12\n345", "345"),
            // Not pieces of anything.
            ("10^5 = 100000", "100000"),
            ("1/2 = 0.5", "0.5"),
            ("90^\\circ", "90"),
            ("the 18^{th}", "18"),
            ("\\boxed{42}", "42"),
            ("\\text{a}{42}", "42"),
            ("\\boxed{-1{,}250}", "-1{,}250"),
            ("eighteen (18)", "18"),
            ("f(18)", "18"),
            ("(-18)", "-18"),
            ("(about 18)", "18"),
            ("noted[^1]", "1"),
            ("a/5", "5"),
        ] {
            assert_eq!(last(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn pieces_are_no_numbers() {
        for (texts, expected) in [
            (&["٣", "none", ""][..], "there is no number"),
            (
                &[
                    "That is 10^5.",
                    "10^{5}",
                    "10^{-5}",
                    "3 × 10^-5",
                    "10**5",
                    "(x+1)**2",
                    "2^n",
                    "2^{-n}",
                    "10²",
                    "x^2",
                ],
                "the last number is part of a power",
            ),
            (
                &[
                    "The ratio is 1/2.",
                    "3 1/2",
                    "1 / 2",
                    "$1/$2",
                    "1⁄2",
                    "1½",
                    "(a+b)/2",
                    "12/05/2024",
                    "\\frac{1}{2}",
                    "$\\dfrac{\\pi}{12}$",
                    "\\frac{5}{x}",
                    "\\frac12",
                    "\\frac{1}2",
                    "\\binom{5}{2}",
                ],
                "the last number is part of a fraction or a date",
            ),
            (&["\\sqrt{2}", "\\sqrt[3]{2}", "√2", "3\\sqrt2"], "the last number is part of a root"),
            (&["at 12:30", "1:2"], "the last number is part of a time or a ratio"),
            (&["on 2024-05-17", "555-0123-4567"], "the last number is part of a date or a code"),
            (
                &["(1,234)", "Loss: ($1,234.50)", "a loss of (1,234)", "Net: (500)", "(18)"],
                "the last number stands in brackets, which may mean minus",
            ),
        ] {
            for text in texts {
                assert_eq!(last(text), Err(expected), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(?s)([-+$.,'eE0-9\u{2212}\u{a0} ^/(){}\\[\\]:*]|\\\\[,;:!]|\\\\frac|\\PC|.){0,60}") {
            if let Ok(number) = last(&text) {
                prop_assert!(number.ends_with(|c: char| c.is_ascii_digit()));
                prop_assert!(text.contains(number));
            }
        }
    }
}
