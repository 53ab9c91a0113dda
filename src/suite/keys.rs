//! Which values of variables are keys: what is declared as one, what is named like one, and what looks random. Anything
//! else that a program or a header is given (a region, a locale, a folder) may stand in a right answer, and is left there.

use crate::suite::mask;
use crate::util::base64;
use crate::util::secret::Secret;

/// Words at whose end the name of a variable says that its value is a key.
const KEY_WORDS: [&str; 17] = [
    "KEY",
    "KEYS",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASSCODE",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "AUTH",
    "COOKIE",
    "SEC",
    "JWT",
];

/// The same for words that are the end of many others.
const WHOLE_KEY_WORDS: [&str; 5] = ["PASS", "PWD", "PW", "PAT", "SIGNATURE"];

/// Words that end like one of these and say something else.
const OTHER_WORDS: [&str; 8] = ["MONKEY", "TURKEY", "HOTKEY", "DONKEY", "HOCKEY", "WHISKEY", "JOCKEY", "SEC"];

/// Last words of a name that say what of a key it is instead: `SSH_KEY_PATH`, `SECRET_NAME`.
const ABOUT_WORDS: [&str; 18] = [
    "FILE", "PATH", "DIR", "FOLDER", "URL", "URI", "ENDPOINT", "HOST", "PORT", "NAME", "REGION", "ZONE", "LENGTH",
    "LIMIT", "COUNT", "TYPE", "TTL", "ENABLED",
];

/// The shortest text that is called random.
const LEAST_RANDOM: usize = 16;

/// The keys in the value of a variable that is given to a program or stands in a header: all of it when the variable's
/// name says that it is a key (`…KEY`, `…TOKEN`, `…SECRET`, `…PASSWORD`, `…CREDENTIALS` and their kind) or when it looks
/// random, which is long, and more than words, numbers, versions, dates and paths are made of. Of an address with
/// `user:password@` in it, these.
pub fn keys_of(variable: &str, value: &str) -> Vec<Secret> {
    let mut keys = if value.contains("://") { credentials_of(value) } else { Vec::new() };
    if is_named_key(variable) || looks_random(value) {
        keys.push(Secret::new(value));
    }
    keys
}

/// The keys in the value of a variable that stands in this header, which sends `sent`: all of it in a header that carries
/// secrets, and what `Basic` wraps there.
pub fn keys_of_header(header: &str, sent: &str, variable: &str, value: &str) -> Vec<Secret> {
    if !is_secret_header(&header.to_ascii_lowercase()) {
        return keys_of(variable, value);
    }
    let wrapped = sent.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let opened = wrapped.and_then(|(_, code)| String::from_utf8(base64::decode(code.trim())?).ok());
    let password = opened.as_deref().and_then(|pair| Some(Secret::new(pair.split_once(':')?.1)));
    [Secret::new(value)].into_iter().chain(opened.as_deref().map(Secret::new)).chain(password).collect()
}

/// The credentials in an address, such as that of a proxy: `user:password` and the password, or what stands there alone.
pub fn credentials_of(address: &str) -> Vec<Secret> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((pair, _)) = authority.rsplit_once('@') else { return Vec::new() };
    match pair.split_once(':') {
        Some((_, "")) | None if address.contains("://") => vec![Secret::new(pair.trim_end_matches(':'))],
        Some((_, password)) if !password.is_empty() => vec![Secret::new(pair), Secret::new(password)],
        Some(_) | None => Vec::new(),
    }
}

/// Whether a header of this name (in lower case) carries a secret.
pub(crate) fn is_secret_header(name: &str) -> bool {
    ["authorization", "api-key", "apikey", "api_key", "secret", "password", "cookie", "credential"]
        .iter()
        .any(|part| name.contains(part))
        || name.ends_with("token")
}

/// Whether the name of a variable says that its value is a key.
fn is_named_key(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase();
    // The folder that a shell is in.
    if ["PWD", "OLDPWD"].contains(&name.as_str()) {
        return false;
    }
    let words: Vec<&str> =
        name.split(['_', '-', '.']).map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    let says_key = |word: &&str| {
        WHOLE_KEY_WORDS.contains(word)
            || (KEY_WORDS.iter().any(|key| word.ends_with(key)) && !OTHER_WORDS.contains(word))
    };
    // What counts tokens is no key.
    let counts_tokens =
        words.last() == Some(&"TOKENS") && ["MAX", "MIN", "NUM"].iter().any(|word| words.contains(word));
    let is_about = words.last().is_some_and(|word| ABOUT_WORDS.contains(word));
    words.iter().any(says_key) && !is_about && !counts_tokens
}

/// Whether a value is long and not made of words and numbers: a key, whatever its name.
fn looks_random(value: &str) -> bool {
    let value = value.trim();
    if mask::is_key(value) || value.contains("PRIVATE KEY-----") {
        return true;
    }
    let is_path = value.starts_with(['/', '~', '.']) || value.get(1..3) == Some(":\\");
    if value.chars().count() < LEAST_RANDOM || is_path || value.contains(char::is_whitespace) {
        return false;
    }
    let pieces = value.split(|c: char| !c.is_alphanumeric()).filter(|piece| !is_wordlike(piece));
    let odd: String = pieces.collect();
    let mut characters: Vec<char> = odd.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    odd.chars().count() >= 6 && characters.len() >= 5
}

/// Whether a piece of a value is a word, a number, or the two together as in `v1`, `70B` and `gpt4o`.
fn is_wordlike(piece: &str) -> bool {
    let characters: Vec<char> = piece.chars().collect();
    let pairs = || characters.iter().zip(characters.iter().skip(1));
    let turns = pairs().filter(|(a, b)| a.is_numeric() != b.is_numeric()).count();
    let humps = pairs().filter(|(a, b)| a.is_lowercase() && b.is_uppercase()).count();
    let digits = characters.iter().filter(|c| c.is_numeric()).count();
    let letters = characters.len() - digits;
    let is_plain = turns <= 1 || (turns == 2 && characters.len() <= 8);
    is_plain && digits <= 8 && letters <= 20 && humps <= letters / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(keys: &[Secret]) -> Vec<&str> {
        keys.iter().map(Secret::expose).collect()
    }

    #[test]
    fn names_say_what_a_key_is() {
        for name in [
            "OPENAI_API_KEY",
            "MYKEY",
            "MYKEY2",
            "KEY_1",
            "api_key",
            "HF_TOKEN",
            "GITHUB_PAT",
            "DB_PASSWORD",
            "PGPASSWORD",
            "MYSQL_PWD",
            "SMTP_PASS",
            "CLIENT_SECRET",
            "TEAMSEC",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "SECRET_KEY_BASE",
            "SESSION_COOKIE",
            "BASIC_AUTH",
            "TOKENS",
        ] {
            assert_eq!(exposed(&keys_of(name, "plain")), ["plain"], "{name}");
        }
        for name in [
            "HOME",
            "LANG",
            "TZ",
            "REGION",
            "PATH",
            "PWD",
            "OLDPWD",
            "MODEL",
            "KEYBOARD",
            "MONKEY",
            "TOKENIZER",
            "MAX_TOKENS",
            "MAX_OUTPUT_TOKENS",
            "SSH_KEY_PATH",
            "SECRET_NAME",
            "TOKEN_TTL",
            "AUTHOR",
            "TIMEOUT_SEC",
            "COMPASS",
            "KEYCLOAK_URL",
            "PASSENGER",
        ] {
            assert_eq!(exposed(&keys_of(name, "plain")), [""; 0], "{name}");
        }
    }

    #[test]
    fn what_looks_random_is_a_key_whatever_its_name() {
        for value in [
            "sk-proj-0123456789",
            "AbC9dEf2GhI7jKl4",
            "9f86d081884c7d659a2feaa0c55ad015",
            "3fa85f64-5717-4562-b3fc-2c963f66afa6",
            "dGhpcyBpcyBub3QgYSBrZXk",
            "header-secret-987654321",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "-----BEGIN PRIVATE KEY-----\nMII",
            "https://hooks.example/services/T0AB12CD/XyZ9aBc8DeF7",
        ] {
            assert_eq!(exposed(&keys_of("VALUE", value)), [value], "{value}");
        }
        for value in [
            "",
            "eu-west-1",
            "/root",
            "C.UTF-8",
            "en_US.UTF-8",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "prod-1",
            "gpt-5-mini-2025-08-07",
            "meta-llama/Llama-3.3-70B-Instruct",
            "claude-3-5-sonnet-20241022",
            "2026-11-29T06:28:25Z",
            "http://127.0.0.1:8000/v1",
            "ip-10-0-3-27.eu-west-1.compute.internal",
            "myServiceAccountName",
            "production-cluster",
            "the answer to everything",
            "/usr/local/bin:/usr/bin:/bin",
            "/nix/store/1d2hk3a9x8-evalctl",
            "1234567890",
            "internationalization",
            "application/json;charset=utf-8",
            "AbC9dEf2",
        ] {
            assert_eq!(exposed(&keys_of("VALUE", value)), [""; 0], "{value}");
        }
    }

    #[test]
    fn credentials_of_addresses_are_keys() {
        for (address, keys) in [
            ("http://proxy.example:3128", vec![]),
            ("http://me:p%40ss@proxy.example:3128/", vec!["me:p%40ss", "p%40ss"]),
            ("me:pa:ss@proxy:8080", vec!["me:pa:ss", "pa:ss"]),
            ("socks5h://token@proxy", vec!["token"]),
            ("socks5h://token:@proxy", vec!["token"]),
            ("http://proxy/a@b", vec![]),
            ("me@example.org", vec![]),
        ] {
            assert_eq!(exposed(&credentials_of(address)), keys, "{address}");
        }
        assert_eq!(exposed(&keys_of("DB", "postgres://app:hush77@db/x")), ["app:hush77", "hush77"]);
    }

    #[test]
    fn headers_that_carry_secrets_say_so() {
        let keys = |header: &str, sent: &str, value: &str| keys_of_header(header, sent, "VALUE", value).len();
        for header in ["Authorization", "proxy-authorization", "X-Api-Key", "cookie", "x-amz-security-token", "api-key"]
        {
            assert_eq!(keys(header, "prod-1", "prod-1"), 1, "{header}");
        }
        for header in ["x-env", "x-team", "x-max-tokens", "accept-language"] {
            assert_eq!(keys(header, "prod-1", "prod-1"), 0, "{header}");
        }
        assert_eq!(keys("x-env", "sk-proj-0123456789", "sk-proj-0123456789"), 1);
        let basic = keys_of_header("authorization", "Basic bWU6aHVzaDc3", "VALUE", "bWU6aHVzaDc3");
        assert_eq!(exposed(&basic), ["bWU6aHVzaDc3", "me:hush77", "hush77"]);
    }
}
