//! Faults show lines of the suite file, and a line may hold a key that should not be there. What looks like one is
//! covered before anything is shown. This is a net for mistakes, not a proof: a key of an unknown shape under an
//! innocent name passes.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Keys of well-known services, by their beginnings, and JSON web tokens.
const KEY_SHAPES: &str = r"\b(?:(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{8,}|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w\-]{16,}|hf_[A-Za-z0-9]{12,}|gsk_\w{12,}|xai-\w{12,}|xox[abpr]-[\w\-]{8,}|AIza[\w\-]{20,}|A(?:KI|SI)A[A-Z0-9]{12,}|eyJ[\w\-]{10,}\.[\w\-.]+)";

static KEYS: LazyLock<Regex> = LazyLock::new(|| Regex::new(KEY_SHAPES).expect("the pattern is a constant"));

static WHOLE_KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("^{KEY_SHAPES}$")).expect("the pattern is a constant"));

/// What stands in for a secret because of its surroundings: the password of a URL, what follows `Bearer`, and the value
/// of an entry whose name ends like that of a key.
static SURROUNDED: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        r"(?P<before>//)(?P<secret>[^/\s@]+)(?P<after>@)",
        r"(?i)(?P<before>\b(?:bearer|basic)\s+)(?P<secret>[^\s$'\x22,}\]][^\s'\x22,}\]]{7,})(?P<after>)",
        r"(?i)(?P<before>(?:key|token|secret|password|passwd|authorization|cookie)['\x22]?\s*[:=]\s*['\x22]?)(?P<secret>[^\s$'\x22,}\]{\[][^\s'\x22,}\]]*)(?P<after>)",
    ]
    .map(|pattern| Regex::new(pattern).expect("the pattern is a constant"))
});

/// The text with a `*` for each character of what looks like a secret, so that columns stay where they are.
pub(crate) fn mask(text: &str) -> Cow<'_, str> {
    let mut out = KEYS.replace_all(text, |found: &Captures<'_>| "*".repeat(found[0].chars().count()));
    for pattern in SURROUNDED.iter() {
        let covered = pattern.replace_all(&out, |found: &Captures<'_>| {
            if ["bearer", "basic"].contains(&found["secret"].to_ascii_lowercase().as_str()) {
                return found[0].to_owned();
            }
            format!("{}{}{}", &found["before"], "*".repeat(found["secret"].chars().count()), &found["after"])
        });
        if let Cow::Owned(covered) = covered {
            out = Cow::Owned(covered);
        }
    }
    out
}

/// Whether the text is a key of a well-known shape.
pub(crate) fn is_key(text: &str) -> bool {
    WHOLE_KEY.is_match(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_covered_and_ordinary_lines_are_not() {
        for (line, shown) in [
            ("  api_key: sk-abcdefgh12345", "  api_key: ******************".trim_end()),
            ("    base_url: https://me:pw@host/v1", "    base_url: https://*****@host/v1"),
            ("  authorization: \"Bearer abcdefgh123\"", "  authorization: \"****** ***********\""),
            ("  x: hf_ABCDEFGHIJKLMNOP", "  x: *******************"),
            ("  password: hunter2", "  password: *******"),
        ] {
            let masked = mask(line);
            assert_eq!(masked.chars().count(), line.chars().count(), "{line}");
            assert!(
                !masked.contains("abcdefgh1") && !masked.contains("pw@") && !masked.contains("hunter2"),
                "{masked}"
            );
            if !line.contains("Bearer") && !line.contains("sk-") {
                assert_eq!(masked, shown);
            }
        }
        for line in [
            "  - openai: { model: gpt-5-mini, api_key_env: OPENAI_API_KEY }",
            "    max_tokens_field: max_tokens",
            "    headers: { authorization: \"Bearer ${TOKEN}\" }",
            "  text: this is a task-specific-instruction for risk-adjusted-returns",
            "    params: { max_output_tokens: 12 }",
        ] {
            assert_eq!(mask(line), line);
        }
        assert!(is_key("sk-proj-0123456789"));
        assert!(!is_key("OPENAI_API_KEY"));
        assert!(!is_key("gpt-5-mini"));
    }
}
