//! What is looked for: keys and tokens of known shapes, and what tells who somebody is. Patterns find candidates; checks
//! (Luhn, modulo 97, addresses that parse) keep the false ones out.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use regex::Regex;

use crate::util::base64;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, by which it is chosen and counted.
    pub name: String,
    /// Finds candidates; what stands in its first group goes, or the whole where it has none.
    pub pattern: Regex,
    /// Which bytes of the candidate go; `None` when it is a false one.
    pub check: fn(&Candidate<'_>) -> Option<Range<usize>>,
    /// Texts of which one must be there, so that others need not be searched; empty for any text.
    pub needs: &'static [&'static str],
    /// Digits that a text must have.
    pub least_digits: usize,
}

/// What a pattern found.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The text.
    pub found: &'a str,
    /// The character before it.
    pub before: Option<char>,
    /// The character after it.
    pub after: Option<char>,
}

/// Names of rules that go together.
pub const SECRETS: [&str; 12] = [
    "private_key",
    "jwt",
    "api_key",
    "aws_key",
    "google_key",
    "github_token",
    "slack_token",
    "service_token",
    "url_password",
    "bearer",
    "query_key",
    "assigned_secret",
];
/// Names of the rules for what tells who somebody is.
pub const PERSONAL: [&str; 7] = ["email", "iban", "card", "ip", "phone", "national_id", "mac"];

/// (name, pattern, check, needs, digits)
type Row = (&'static str, &'static str, fn(&Candidate<'_>) -> Option<Range<usize>>, &'static [&'static str], usize);

const ROWS: [Row; 66] = [
    (
        "private_key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        whole,
        &["PRIVATE KEY"],
        0,
    ),
    (
        "private_key",
        r"PuTTY-User-Key-File-[0-9][\s\S]*?(?:Private-(?:MAC|Hash):[ \t]*[0-9a-f]+|\z)",
        whole,
        &["PuTTY-User-Key-File-"],
        0,
    ),
    // The body alone: PKCS 1, PKCS 8, SEC 1 and OpenSSH begin with these bytes.
    (
        "private_key",
        r"(?-u:\b)(?:MII[A-Za-z0-9+/]{1,3}IBA[A-Za-z0-9+/]|MII[A-Za-z0-9+/]{1,3}ADAN|MHcCAQEE|MIGHAgEA|MC4CAQAw|b3BlbnNzaC1rZXkt)[A-Za-z0-9+/]{24,}(?:(?:\s|\\r|\\n)+[A-Za-z0-9+/]{16,})*(?:(?:\s|\\r|\\n)+[A-Za-z0-9+/]+)?={0,2}",
        whole,
        &["MII", "MHcCAQEE", "MIGHAgEA", "MC4CAQAw", "b3BlbnNzaC1rZXkt"],
        0,
    ),
    ("jwt", r"(?-u:\b)eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?", whole, &["eyJ"], 0),
    // A key may stand in two lines.
    (
        "api_key",
        r"(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}(?:(?:\r?\n|\\n)[A-Za-z0-9_-]{10,})?",
        key_apart,
        &["sk-", "pk-", "rk-"],
        1,
    ),
    ("api_key", r"[srp]k_(?:live|test|prod)_[A-Za-z0-9]{10,}", apart, &["k_live_", "k_test_", "k_prod_"], 0),
    (
        "aws_key",
        r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA)[A-Z0-9]{16}(?-u:\b)",
        apart,
        &["AKIA", "ASIA", "ABIA", "ACCA", "AIDA", "AROA"],
        0,
    ),
    ("google_key", r"AIza[A-Za-z0-9_-]{30,}", apart, &["AIza"], 0),
    ("google_key", r"(?:ya29\.|GOCSPX-)[A-Za-z0-9_-]{16,}", apart, &["ya29.", "GOCSPX-"], 0),
    (
        "github_token",
        r"(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,})",
        apart,
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        0,
    ),
    ("slack_token", r"(?:xox[a-z]|xapp|xwfp)-[A-Za-z0-9-]{10,}", apart, &["xox", "xapp-", "xwfp-"], 0),
    (
        "service_token",
        r"(?:hf_|gsk_|xai-|pplx-|r8_|glpat-|gldt-|npm_|pypi-|dop_v1_|shp(?:at|ss|ca|pa)_|nvapi-|tgp_v1_|fw_|lsv2_(?:pt|sk)_|phc_|rpa_|whsec_|hvs\.|lin_api_|ntn_|secret_|figd_|ATATT|NRAK-|EAAA|sq0[a-z]{3}-)[A-Za-z0-9_-]{16,}",
        key_apart,
        &[
            "lin_api_", "ntn_", "secret_", "figd_", "ATATT", "NRAK-", "EAAA", "sq0", "gldt-", "shpss_", "shpca_",
            "shppa_", "hf_", "gsk_", "xai-", "pplx-", "r8_", "glpat-", "npm_", "pypi-", "dop_v1_", "shpat_", "nvapi-",
            "tgp_v1_", "fw_", "lsv2_", "phc_", "rpa_", "whsec_", "hvs.",
        ],
        0,
    ),
    ("service_token", r"(?-u:\b)[0-9]{8,10}:[A-Za-z0-9_-]{35}(?-u:\b)", mixed, &[":"], 9),
    ("service_token", r"dapi[0-9a-f]{32}", apart, &["dapi"], 0),
    ("service_token", r"(?-u:\b)key-[0-9a-f]{32}(?-u:\b)", whole, &["key-"], 1),
    ("service_token", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}", whole, &["AGE-SECRET-KEY-1"], 0),
    (
        "service_token",
        r"(?-u:\b)[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,45}(?-u:\b)",
        mixed,
        &["."],
        1,
    ),
    ("service_token", r"discord(?:app)?\.com/api/webhooks/([0-9]+/[A-Za-z0-9_-]{20,})", whole, &["/api/webhooks/"], 1),
    ("slack_token", r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,})", whole, &["hooks.slack.com"], 0),
    ("service_token", r"(?-u:\b)SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}", whole, &["SG."], 0),
    ("service_token", r"(?-u:\b)(?:AC|SK)[0-9a-f]{32}(?-u:\b)", whole, &[], 1),
    ("url_password", r#"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@"'<>]*:([^\s/"'<>]+)@"#, whole, &["://"], 0),
    (
        "bearer",
        r"(?i)(?-u:\b)(?:bearer|basic|token)\s+([A-Za-z0-9+/._~-]{16,}=*)",
        mixed,
        &["earer", "asic", "oken", "EARER", "ASIC", "OKEN"],
        0,
    ),
    (
        "bearer",
        r#"(?i)authorization["']?\s*[:=]\s*["']?(?:bearer|token)\s+([^\s"',;\[]{8,})"#,
        whole,
        &["uthorization", "UTHORIZATION"],
        0,
    ),
    (
        "bearer",
        r#"(?i)authorization["']?\s*[:=]\s*["']?(?:digest|hmac[a-z0-9-]*|ntlm|negotiate|aws4-hmac-sha256|apikey|sso-key)\s+((?:[^\r\n"']|"[^"\r\n]*"){8,600})"#,
        not_placeholder,
        &["uthorization", "UTHORIZATION"],
        0,
    ),
    ("bearer", r"(?-u:\b)[Ss]ignature=([0-9a-f]{64})", whole, &["ignature="], 1),
    ("bearer", r#""auth"\s*:\s*"([A-Za-z0-9+/]{8,}={0,2})""#, basic, &["\"auth\""], 0),
    ("bearer", r"(?i)(?-u:\b)basic\s+([A-Za-z0-9+/_-]{6,}=*)", basic, &["asic", "ASIC"], 0),
    (
        "query_key",
        r#"(?i)[?&](?:api[-_]?key|key|token|access[-_]?token|auth|sig|signature|password|passwd|secret|client[-_]?secret|x-amz-[a-z-]+|code)=([^&\s"'#<>]{6,})"#,
        not_placeholder,
        &["="],
        0,
    ),
    // A name with a value behind it, in whatever way the two are joined; in Markdown the name may be set off.
    (
        "assigned_secret",
        r#"(?i)(?:api[-_ ]?key|secret|token|access[-_ ]?key|account[-_ ]?key|authorization)[*_`"']{0,3}\s*(?:=>|:=|[:=>]|is)[*_`]{0,3}\s*["'`]?([^\s"'`,;&<>()\[\]{}]{6,})"#,
        mixed,
        &["=", ":", ">", " is "],
        0,
    ),
    // Passwords need no digit, and have any sign in them.
    (
        "assigned_secret",
        r#"(?i)(?:passwd|password|passwort|passphrase|kennwort|pwd)[*_`"']{0,3}(?:\s*\([^()\n]{1,20}\))?\s*(?:=>|:=|[:=>|]|is|was)[*_]{0,3}\s*(?:"([^"\n]{4,})"|'([^'\n]{4,})'|`([^`\n]{4,})`)"#,
        password,
        &["=", ":", ">", "|", " is ", " was "],
        0,
    ),
    (
        "assigned_secret",
        r#"(?i)(?:passwd|password|passwort|passphrase|kennwort|pwd)[*_`"']{0,3}(?:\s*\([^()\n]{1,20}\))?\s*(?:=>|:=|[:=])[*_`]{0,3}\s*([^\s"'`<>]{6,})"#,
        password,
        &["=", ":"],
        0,
    ),
    (
        "assigned_secret",
        r#"(?i)(?:passwd|password|passwort|passphrase|kennwort|pwd)(?:>|\s+(?:is|was|ist|war)|\s*\|)\s*([^\s"'`<>]{6,})"#,
        mixed,
        &[">", "|", " is ", " was ", " ist ", " war "],
        0,
    ),
    (
        "assigned_secret",
        r#"(?i)--?(?:password|passwd|token|api-?key|secret)[ =]+["']?([^\s"'\[]{6,})"#,
        password,
        &["--", " -"],
        0,
    ),
    (
        "assigned_secret",
        r#"(?-u:\b)[A-Z][A-Z0-9_]*(?:_KEY|SECRET|TOKEN|PASSWORD|_PASS)[A-Z0-9_]*["']?\s*[:=]\s*["']?([^\s"',;&<>()\[\]{}]{8,})"#,
        mixed,
        &["_KEY", "SECRET", "TOKEN", "PASSWORD", "_PASS"],
        0,
    ),
    ("assigned_secret", r#"\s(?:-u|--user)[ =]["']?[^\s:"']+:([^\s"']{4,})"#, password, &[" -u", "--user"], 0),
    (
        "assigned_secret",
        r#"(?i)(?-u:\b)(?:set-)?cookie["']?\s*:\s*["']?([^\s=;"']+=[^\r\n"']{6,})"#,
        not_placeholder,
        &["ookie", "OOKIE"],
        0,
    ),
    // A call with a header or a field by name, and pairs of a name and a value.
    (
        "assigned_secret",
        r#"(?i)[a-z0-9_]\(\s*["'][a-z0-9_-]*(?:api[-_]?key|subscription-key|auth[-_]token|secret|password)[a-z0-9_-]*["']\s*,\s*["']([^"'\n]{6,})["']\s*\)"#,
        mixed,
        &["\",", "',"],
        1,
    ),
    (
        "assigned_secret",
        r#"(?i)\[\s*["'][a-z0-9_-]*(?:key|token|secret|password)["']\s*\]\s*=\s*["']([^"'\n]{6,})["']"#,
        password,
        &["\"]", "']"],
        0,
    ),
    (
        "assigned_secret",
        r#"(?i)["'](?:name|key)["']\s*:\s*["'][a-z0-9_.-]*(?:key|secret|token|password|passwd)[a-z0-9_.-]*["']\s*,\s*["']value["']\s*:\s*["']([^"'\n]{4,})["']"#,
        password,
        &["\"value\"", "'value'"],
        0,
    ),
    (
        "assigned_secret",
        r#"(?i)(?:key|name)="[a-z0-9_.:-]*(?:key|secret|token|password|passwd)[a-z0-9_.:-]*"\s+value="([^"\n]{4,})""#,
        password,
        &["value="],
        0,
    ),
    (
        "assigned_secret",
        r#"(?i)ocp-apim-subscription-key["']?\s*[:=]\s*["']?([A-Za-z0-9]{16,})"#,
        whole,
        &["ubscription-", "UBSCRIPTION-"],
        0,
    ),
    // Letters alone, as in a file of variables.
    (
        "assigned_secret",
        r#"(?-u:\b)[A-Z][A-Z0-9_]*(?:_KEY|SECRET|TOKEN|PASSWORD|_PASS)=["']?([A-Za-z]{16,})(?-u:\b)"#,
        whole,
        &["="],
        0,
    ),
    (
        "assigned_secret",
        r"(?i)(?-u:\b)(?:mysql|mysqldump|mysqladmin|mariadb)(?-u:\b)[^\n|;&]{0,200}?\s-p([^\s'\x22-]{4,})",
        password,
        &["mysql", "mariadb"],
        0,
    ),
    ("assigned_secret", r#"sshpass\s+-p\s*["']?([^\s"']{4,})"#, password, &["sshpass"], 0),
    ("assigned_secret", r"(?i)(?-u:\b)login\s+\S+\s+password\s+([^\s]{4,})", password, &["login", "LOGIN"], 0),
    (
        "assigned_secret",
        r#"(?-u:\b)_(?:auth|authToken|password)\s*=\s*["']?([A-Za-z0-9+/=_-]{8,})"#,
        password,
        &["_auth", "_password"],
        0,
    ),
    (
        "assigned_secret",
        r"(?i)(?-u:\b)(?:jsessionid|phpsessid|session_?id|connect\.sid)=([A-Za-z0-9%._-]{16,})",
        mixed,
        &["="],
        1,
    ),
    // Passwords in other words, and other languages.
    (
        "assigned_secret",
        r#"(?i)(?:(?-u:\b)pass|passwor[dt]|kennwort|mot de passe|contrase(?:ñ|n)a|senha|wachtwoord|parola|пароль|密码|密碼|パスワード|비밀번호)\s*(?:[:=：]|(?:lautet|est|es|é|is|ist|это|是|は)\s*:?)\s*["'«„“]?([^\s"'`<>«»“”,，。]{6,})"#,
        mixed,
        &[
            "ass",
            "ASS",
            "ennwort",
            "contrase",
            "Contrase",
            "enha",
            "achtwoord",
            "arola",
            "ароль",
            "密码",
            "密碼",
            "パスワード",
            "비밀번호",
        ],
        1,
    ),
    // The sign in other spellings, with something unseen within, or at the end of a line.
    (
        "email",
        r"(?i)[\p{L}\p{N}_%+][\p{L}\p{N}._%+'-]*(?:&#0*64;|&#x0*40;|&commat;|＠|=40|\\x40|@(?:=?\r?\n[ \t]*))(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,}",
        whole,
        &["&#", "&commat;", "＠", "=40", "\\x40", "@\n", "@\r", "@="],
        0,
    ),
    (
        "email",
        r"[\p{L}\p{N}_%+](?:[\p{L}\p{N}._%+'\x{AD}\x{200B}-\x{200D}\x{2060}\x{FEFF}-]*)[\x{AD}\x{200B}-\x{200D}\x{2060}\x{FEFF}]*@[\x{AD}\x{200B}-\x{200D}\x{2060}\x{FEFF}]*(?:[\p{L}\p{N}\x{AD}\x{200B}-\x{200D}\x{2060}\x{FEFF}-]+\.[\x{AD}\x{200B}-\x{200D}\x{2060}\x{FEFF}]*)+\p{L}{2,}",
        whole,
        &["\u{AD}", "\u{200B}", "\u{200C}", "\u{200D}", "\u{2060}", "\u{FEFF}"],
        0,
    ),
    (
        "email",
        r"(?i)(?-u:\b)[a-z0-9._%+-]+\s+at\s+[a-z0-9-]+(?:\s+dot\s+[a-z0-9-]+)*\s+dot\s+(?:com|org|net|edu|gov|info|io|co|ai|app|dev|me|eu|us|uk|de|fr|es|it|nl|be|ch|at|pl|se|ca|au|jp|cn|in|br|ru|example)(?-u:\b)",
        whole,
        &[" dot ", " DOT ", " Dot "],
        0,
    ),
    (
        "email",
        r"[\p{L}\p{N}_%+](?:[\p{L}\p{N}._%+'-]*)@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+(?:xn--[A-Za-z0-9-]+|\p{L}{2,})",
        whole,
        &["@"],
        0,
    ),
    (
        "email",
        r"(?i)(?-u:\b)[A-Za-z0-9._%+-]+\s?[\[({]\s?at\s?[\])}]\s?[A-Za-z0-9-]+(?:\s?(?:[\[({]\s?dot\s?[\])}]|\.)\s?[A-Za-z0-9-]+)+",
        whole,
        &[
            "at)", "at]", "at}", "at )", "at ]", "at }", "AT)", "AT]", "AT}", "AT )", "AT ]", "AT }", "At)", "At]",
            "At}",
        ],
        0,
    ),
    (
        "iban",
        r"(?i)(?-u:\b)[A-Z]{2}[0-9]{2}(?:[ \x{A0}-]?[A-Z0-9]{4}){2,7}(?:[ \x{A0}-]?[A-Z0-9]{1,4})?(?-u:\b)",
        iban,
        &[],
        10,
    ),
    ("card", r"[0-9](?:[ \x{A0}.-]?[0-9]){12,40}", card, &[], 13),
    ("card", r"[0-9]{4}(?:(?:[_/]|\r?\n| {2})[0-9]{4}){3}", card, &[], 16),
    ("ip", r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", ipv4, &["."], 4),
    ("ip", r"(?:[0-9]{1,3}(?:\[\.\]|\(\.\)|\[dot\])){3}[0-9]{1,3}", octets, &["[.]", "(.)", "[dot]"], 4),
    ("ip", r"(?-u:\b)(?:ec2|ip)-[0-9]{1,3}(?:-[0-9]{1,3}){3}(?-u:\b)", octets, &["ec2-", "ip-"], 4),
    ("ip", r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}", ipv6, &[":"], 1),
    (
        "phone",
        r"(?:\+[0-9]{1,3}(?:[ \x{A0}./-]?\(?[0-9]{1,5}\)?){2,6}|(?-u:\b)00[1-9][0-9]{0,2}(?:[ \x{A0}./-]\(?[0-9]{1,5}\)?){2,6}|(?:(?-u:\b)1[ .-])?(?:\([0-9]{3}\)[ \x{A0}.-]?|(?-u:\b)[0-9]{3}[ \x{A0}.-])[0-9]{3}[ \x{A0}.-][0-9]{4}(?-u:\b)|\(?(?-u:\b)0[0-9]{1,4}\)?[ \x{A0}/-][0-9]{3,8}(?:[ \x{A0}-][0-9]{1,5}){0,3}(?-u:\b)|(?-u:\b)0[0-9](?:[ \x{A0}.-][0-9]{2}){4}(?-u:\b))",
        phone,
        &[],
        8,
    ),
    // Without blanks only where a word says what it is, and as British mobile numbers.
    (
        "phone",
        r"(?i)(?-u:\b)(?:phone|mobile|cell|call|tel|telephone|whatsapp|fax|sms|handy|text me)(?-u:\b)[^\n0-9+]{0,24}([2-9][0-9]{9})(?-u:\b)",
        phone,
        &[],
        10,
    ),
    ("phone", r"(?-u:\b)07[0-9]{9}(?-u:\b)", phone, &["07"], 11),
    ("national_id", r"(?-u:\b)[0-9]{3}-[0-9]{2}-[0-9]{4}(?-u:\b)", social_security, &["-"], 9),
    ("mac", r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}", mac, &[":", "-"], 0),
];

/// The rules of these names, in the order in which they must be applied.
pub fn built_in(names: &[&str]) -> Vec<Rule> {
    let chosen = ROWS.iter().filter(|row| names.contains(&row.0));
    let rule = |(name, pattern, check, needs, least_digits): &Row| Rule {
        name: (*name).to_owned(),
        pattern: Regex::new(pattern).expect("a test compiles all of them"),
        check: *check,
        needs,
        least_digits: *least_digits,
    };
    chosen.map(rule).collect()
}

/// Takes all that a pattern found.
pub fn whole(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    Some(0..candidate.found.len())
}

fn not_placeholder(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    (!candidate.found.starts_with('[')).then_some(0..candidate.found.len())
}

/// Any text but a placeholder, a variable, and what only says of which kind a value is.
fn password(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    const KINDS: [&str; 6] = ["string", "required", "optional", "hidden", "undefined", "boolean"];
    let found = candidate.found.trim_end_matches(['.', '!', '?', ',', ';', ':', '*', ')', ']', '}', '|']);
    let is_open =
        !found.starts_with(['[', '$', '*', '-', '%']) && !KINDS.contains(&found.to_ascii_lowercase().as_str());
    (is_open && found.len() >= 4 && !is_code(found)).then_some(0..found.len())
}

/// Whether this is how a program gets a value: a call, or a field of something.
fn is_code(text: &str) -> bool {
    let name = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(text.len());
    let (path, rest) = text.split_at(name);
    let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    if rest.starts_with('(') {
        let is_name = path.split('.').all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
        return is_name && (path.contains(['.', '_']) || rest.starts_with("()"));
    }
    rest.is_empty() && path.contains('.') && path.split('.').all(is_word)
}

/// Keys have letters and digits; words behind `token:` have letters only.
fn mixed(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let found = candidate.found.trim_end_matches(['.', '!', '?']);
    let is_key = found.chars().any(|c| c.is_ascii_digit()) && found.chars().any(char::is_alphabetic);
    (is_key && !found.starts_with('[') && found.len() >= 6).then_some(0..found.len())
}

/// Takes what does not go on a word: keys with a beginning of their own may stand behind any sign.
fn apart(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let is_glued = candidate.before.is_some_and(char::is_alphanumeric);
    (!is_glued).then_some(0..candidate.found.len())
}

fn key_apart(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    apart(candidate).and_then(|_| mixed(candidate))
}

/// An address of the Internet in other signs than dots.
fn octets(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let mut numbers = candidate.found.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let last_four = numbers.clone().count().saturating_sub(4);
    let is_address = numbers.by_ref().skip(last_four).all(|number| number.parse::<u8>().is_ok());
    (is_address && is_apart(candidate)).then_some(0..candidate.found.len())
}

/// United States: no area is 000, 666 or from 900 up, and no part is of zeros.
fn social_security(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let parts: Vec<u32> = candidate.found.split('-').filter_map(|part| part.parse().ok()).collect();
    let [area, group, serial] = parts[..] else { return None };
    let is_one = (1..900).contains(&area) && area != 666 && group > 0 && serial > 0;
    let is_joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    let is_apart = !is_joined(candidate.before)
        && !candidate.after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '/'));
    (is_one && is_apart).then_some(0..candidate.found.len())
}

/// Of a device: neither nobody's nor everybody's, and no part of a longer row of bytes.
fn mac(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let found = candidate.found;
    let is_joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, ':' | '-' | '_'));
    let digits: Vec<char> = found.chars().filter(char::is_ascii_hexdigit).collect();
    let is_nobody = digits.iter().all(|digit| *digit == digits[0]);
    // Dates and numbers in pairs have digits alone.
    let has_letter = digits.iter().any(char::is_ascii_alphabetic) || found.contains(':');
    (!is_joined(candidate.before) && !is_joined(candidate.after) && !is_nobody && has_letter).then_some(0..found.len())
}

/// Credentials of HTTP (RFC 7617): a name and a password, in base64.
fn basic(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let opened = String::from_utf8(base64::decode(candidate.found)?).ok()?;
    (opened.contains(':') && !opened.chars().any(char::is_control)).then_some(0..candidate.found.len())
}

/// Whether a number stands by itself, not in a longer word.
fn is_apart(candidate: &Candidate<'_>) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !joins(candidate.before) && !joins(candidate.after)
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    text.chars().filter_map(|c| c.to_digit(10))
}

/// ISO/IEC 7812-1, annex B: the check digit of Luhn. Beside a card other numbers may stand (when it expires, a place in a
/// list), so that every run of whole groups is tried, the longest first.
fn card(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let found = candidate.found;
    let is_digit = |at: usize| found.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let begins = |at: &usize| is_digit(*at) && (*at == 0 || !is_digit(at - 1));
    let ends = |at: &usize| is_digit(at - 1) && !is_digit(*at);
    (0..found.len()).filter(begins).find_map(|start| {
        let end = (start + 1..=found.len()).rev().filter(ends).find(|end| is_card(candidate, start..*end));
        end.map(|end| start..end)
    })
}

fn is_card(candidate: &Candidate<'_>, part: Range<usize>) -> bool {
    let found = &candidate.found[part.clone()];
    if !(13..=19).contains(&digits(found).count()) {
        return false;
    }
    let is_issuer = matches!(digits(found).next(), Some(2..=6));
    let sum: u32 = digits(found)
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    let is_uniform = digits(found).all(|digit| Some(digit) == digits(found).next());
    // What stands behind a dash is a part of an id.
    let before = candidate.found[..part.start].chars().next_back().or(candidate.before);
    let after = candidate.found[part.end..].chars().next().or(candidate.after);
    let is_of_id = before == Some('-') || after == Some('-');
    let is_apart = is_apart(&Candidate { found, before, after });
    is_issuer && sum.is_multiple_of(10) && !is_uniform && !is_of_id && is_apart
}

/// Lengths of IBANs by country (ISO 13616, registry of SWIFT), where letters behind one could be taken for a part of it.
const IBAN_LENGTHS: [(&str, usize); 36] = [
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("TR", 26),
];

/// ISO 13616 and ISO/IEC 7064: modulo 97 is 1.
fn iban(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let country = candidate.found.get(..2)?.to_ascii_uppercase();
    let all: Vec<(usize, char)> = candidate.found.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()).collect();
    let length = IBAN_LENGTHS.iter().find(|(code, _)| *code == country).map_or(all.len(), |(_, length)| *length);
    let own = all.get(..length)?;
    if own.len() < 15 || own.len() > 34 {
        return None;
    }
    // In small letters digests look like it, too: then there is a bank of four letters at most, and nothing behind.
    let is_small = own.iter().any(|(_, c)| c.is_ascii_lowercase());
    let account = &own[4..];
    let bank = if account.iter().take(4).all(|(_, c)| c.is_ascii_alphabetic()) { 4 } else { 0 };
    if is_small && (own.len() < all.len() || !account[bank..].iter().all(|(_, c)| c.is_ascii_digit())) {
        return None;
    }
    let turned = own[4..].iter().chain(&own[..4]);
    let rest = turned.fold(0_u32, |rest, (_, c)| match c.to_digit(36) {
        Some(digit @ 0..=9) => (rest * 10 + digit) % 97,
        Some(letter) => (rest * 100 + letter) % 97,
        None => rest,
    });
    (rest == 1).then(|| 0..own.last().map_or(0, |(at, c)| at + c.len_utf8()))
}

fn ipv4(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let address: Ipv4Addr = candidate.found.parse().ok()?;
    let is_version = matches!(candidate.before, Some('v' | 'V' | '.' | '-'));
    // The arc of all object identifiers of private enterprises.
    let is_oid = address.octets() == [1, 3, 6, 1];
    let is_nobody = is_oid || address.is_loopback() || address.octets()[0] == 0 || address.is_broadcast();
    (is_apart(candidate) && !is_version && !is_nobody).then_some(0..candidate.found.len())
}

fn ipv6(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let found = candidate.found.trim_end_matches(':');
    let found = if candidate.found.ends_with("::") { candidate.found } else { found };
    let address: Ipv6Addr = found.parse().ok()?;
    let groups = found.split(':').filter(|group| !group.is_empty()).count();
    let is_apart = !candidate.before.is_some_and(|c| c.is_alphanumeric() || c == ':');
    (groups >= 3 && !address.is_loopback() && is_apart).then_some(0..found.len())
}

/// ITU-T E.164: up to 15 digits.
fn phone(candidate: &Candidate<'_>) -> Option<Range<usize>> {
    let found = candidate.found.trim_end_matches(['(', ' ', '.', '-', '/']);
    // A bracket that was opened before the number closes behind it.
    let found = if found.contains('(') { found } else { found.trim_end_matches(')') };
    let is_joined =
        |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '='));
    // A number that begins with `+` is one behind any sign.
    let is_before = match found.starts_with('+') {
        true => candidate.before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '+')),
        false => is_joined(candidate.before),
    };
    let ends_in_number = candidate.after.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let count = digits(found).count();
    // Zeros alone, and days such as 01-01-2026, are no numbers of anybody.
    let is_nobody = digits(found).all(|digit| digit == 0);
    // Postal codes of the United States, and numbers of standards.
    let is_short = match found.split_once(['-', '/']) {
        Some((head, tail)) => {
            let all_digits =
                |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
            (all_digits(head, 5) && all_digits(tail, 4)) || (all_digits(head, 4) && all_digits(tail, 4))
        }
        None => false,
    };
    (!is_short && (8..=15).contains(&count) && !is_before && !ends_in_number && !is_nobody).then_some(0..found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(rule: &str, text: &str) -> Option<String> {
        built_in(&[rule]).iter().find_map(|rule| {
            rule.pattern.captures_iter(text).find_map(|captures| {
                let found = captures.iter().flatten().nth(1).or(captures.get(0))?;
                let before = text[..found.start()].chars().next_back();
                let after = text[found.end()..].chars().next();
                let part = (rule.check)(&Candidate { found: found.as_str(), before, after })?;
                Some(found.as_str()[part].to_owned())
            })
        })
    }

    #[test]
    fn every_rule_is_known_by_name() {
        let rules = built_in(&[SECRETS.as_slice(), PERSONAL.as_slice()].concat());
        assert_eq!(rules.len(), ROWS.len());
        for name in SECRETS.iter().chain(&PERSONAL) {
            assert!(rules.iter().any(|rule| rule.name == *name), "{name}");
        }
    }

    #[test]
    fn what_is_found() {
        let key = "a1B2c3D4e5F6g7H8i9J0";
        for (rule, text, found) in [
            ("api_key", format!("key sk-proj-{key}."), format!("sk-proj-{key}")),
            ("api_key", format!("sk-ant-api03-{key}"), format!("sk-ant-api03-{key}")),
            ("api_key", format!("f_sk-{key}"), format!("sk-{key}")),
            ("api_key", format!("sk-{key}\n{key} and"), format!("sk-{key}\n{key}")),
            ("service_token", format!("lin_api_{key}"), format!("lin_api_{key}")),
            ("service_token", format!("tool_ntn_{key}"), format!("ntn_{key}")),
            ("service_token", format!("NRAK-{key}"), format!("NRAK-{key}")),
            (
                "service_token",
                "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs".into(),
                "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs".into(),
            ),
            (
                "service_token",
                format!("https://discord.com/api/webhooks/1234567890/{key}x"),
                format!("1234567890/{key}x"),
            ),
            (
                "service_token",
                "key-0123456789abcdef0123456789abcdef".into(),
                "key-0123456789abcdef0123456789abcdef".into(),
            ),
            ("bearer", "{\"auths\": {\"r\": {\"auth\": \"am86aHVudGVyMg==\"}}}".into(), "am86aHVudGVyMg==".into()),
            ("bearer", format!("Signature={}", "ab01".repeat(16)), "ab01".repeat(16)),
            (
                "bearer",
                "Authorization: Digest username=\"jo\", response=\"6629fae49393a0\"".into(),
                "username=\"jo\", response=\"6629fae49393a0\"".into(),
            ),
            ("assigned_secret", "os.environ['API_KEY'] = 'hunter-twice'".into(), "hunter-twice".into()),
            ("assigned_secret", "r.setHeader(\"X-Api-Key\", \"patience1\")".into(), "patience1".into()),
            ("assigned_secret", "{\"name\": \"DB_PASSWORD\", \"value\": \"tiger\"}".into(), "tiger".into()),
            ("assigned_secret", "<add key=\"DbPassword\" value=\"tiger\"/>".into(), "tiger".into()),
            ("assigned_secret", "API_TOKEN=qWeRtYuIoPaSdFgHjK".into(), "qWeRtYuIoPaSdFgHjK".into()),
            ("assigned_secret", "API_TOKEN=abcdefghijklmnop".into(), "abcdefghijklmnop".into()),
            ("assigned_secret", "mysql -u root -ptiger22 shop".into(), "tiger22".into()),
            ("assigned_secret", "sshpass -p tiger ssh box".into(), "tiger".into()),
            ("assigned_secret", "machine x login jo password tiger".into(), "tiger".into()),
            ("assigned_secret", "_auth=am86aHVudGVyMg==".into(), "am86aHVudGVyMg==".into()),
            ("assigned_secret", "Das Passwort lautet: geheim7".into(), "geheim7".into()),
            ("assigned_secret", "le mot de passe est azerty12".into(), "azerty12".into()),
            ("assigned_secret", "la contraseña es tigre22".into(), "tigre22".into()),
            ("assigned_secret", "пароль: тигр2022".into(), "тигр2022".into()),
            ("assigned_secret", "密码是tiger22".into(), "tiger22".into()),
            ("assigned_secret", "user: jo pass: tiger22".into(), "tiger22".into()),
            ("email", "jo&#64;x.example".into(), "jo&#64;x.example".into()),
            ("email", "jo＠x.example".into(), "jo＠x.example".into()),
            ("email", "jo=40x.example".into(), "jo=40x.example".into()),
            ("email", "jo@\n x.example".into(), "jo@\n x.example".into()),
            ("email", "j\u{200b}o@x.ex\u{ad}ample.org".into(), "j\u{200b}o@x.ex\u{ad}ample.org".into()),
            ("email", "jane.doe at example dot com".into(), "jane.doe at example dot com".into()),
            ("card", "4111_1111_1111_1111".into(), "4111_1111_1111_1111".into()),
            ("card", "4111\n1111\n1111\n1111".into(), "4111\n1111\n1111\n1111".into()),
            ("ip", "203[.]0[.]113[.]7".into(), "203[.]0[.]113[.]7".into()),
            ("ip", "ec2-203-0-113-7.compute".into(), "ec2-203-0-113-7".into()),
            ("phone", "call me: 4155552671".into(), "4155552671".into()),
            ("phone", "07700900123".into(), "07700900123".into()),
            ("national_id", "SSN 123-45-6789.".into(), "123-45-6789".into()),
            ("mac", "at 00:1A:2b:3c:4d:5e".into(), "00:1A:2b:3c:4d:5e".into()),
            ("api_key", format!("sk_live_{key}"), format!("sk_live_{key}")),
            ("aws_key", "id AKIAIOSFODNN7EXAMPLE,".into(), "AKIAIOSFODNN7EXAMPLE".into()),
            ("google_key", format!("AIza{key}{key}"), format!("AIza{key}{key}")),
            ("github_token", format!("ghp_{key}"), format!("ghp_{key}")),
            ("slack_token", format!("xoxb-{key}"), format!("xoxb-{key}")),
            ("service_token", format!("hf_{key}"), format!("hf_{key}")),
            ("bearer", format!("Authorization: Bearer {key}"), key.into()),
            ("query_key", format!("https://x.example/v1?key={key}&a=b"), key.into()),
            ("url_password", "postgres://u:hunter2@db/x".into(), "hunter2".into()),
            ("url_password", "redis://u:p@ss@db:6379/0".into(), "p@ss".into()),
            ("bearer", "authorization: basic YTpiYw==".into(), "YTpiYw==".into()),
            ("assigned_secret", format!("export OPENAI_KEY={key}"), key.into()),
            ("email", "jane { at } example { dot } com".into(), "jane { at } example { dot } com".into()),
            ("assigned_secret", "password: hunter2!".into(), "hunter2".into()),
            ("assigned_secret", "**Password:** Tr0ub4d&or3,xyz.".into(), "Tr0ub4d&or3,xyz".into()),
            ("assigned_secret", format!("**API key:** {key}"), key.into()),
            ("assigned_secret", "'password' => 'hunter twice'".into(), "hunter twice".into()),
            ("assigned_secret", "password := \"patience\"".into(), "patience".into()),
            ("assigned_secret", "<password>hunter22</password>".into(), "hunter22".into()),
            ("assigned_secret", "login --password correcthorse now".into(), "correcthorse".into()),
            ("assigned_secret", "password: 93847561".into(), "93847561".into()),
            ("assigned_secret", "{password: ab(c1d2e3)}".into(), "ab(c1d2e3".into()),
            ("assigned_secret", "`password`: `hunter22`".into(), "hunter22".into()),
            ("assigned_secret", "New password (temporary): hunter22".into(), "hunter22".into()),
            ("assigned_secret", "my password was hunter22".into(), "hunter22".into()),
            ("assigned_secret", "| password | hunter22 |".into(), "hunter22".into()),
            ("assigned_secret", "curl -u admin:patience https://x.example".into(), "patience".into()),
            (
                "assigned_secret",
                "Cookie: session=8f14e45fceea167a; theme=dark".into(),
                "session=8f14e45fceea167a; theme=dark".into(),
            ),
            ("assigned_secret", format!("SECRET_KEY_BASE={key}"), key.into()),
            ("bearer", "Authorization: Bearer abcdefghijklmnop".into(), "abcdefghijklmnop".into()),
            (
                "service_token",
                "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1".into(),
                "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1".into(),
            ),
            ("service_token", format!("whsec_{key}"), format!("whsec_{key}")),
            (
                "service_token",
                "dapi0123456789abcdef0123456789abcdef".into(),
                "dapi0123456789abcdef0123456789abcdef".into(),
            ),
            (
                "slack_token",
                "https://hooks.slack.com/services/T000/B000/abcdefghijkl".into(),
                "T000/B000/abcdefghijkl".into(),
            ),
            ("iban", "de89370400440532013000".into(), "de89370400440532013000".into()),
            ("card", "My card is 4111 1111 1111 1111 12/27 CVV 123".into(), "4111 1111 1111 1111".into()),
            ("card", "card 2 4111 1111 1111 1111".into(), "4111 1111 1111 1111".into()),
            ("card", "4111111111111111 123".into(), "4111111111111111".into()),
            ("phone", "1-415-555-2671".into(), "1-415-555-2671".into()),
            ("phone", "(415)555-2671".into(), "(415)555-2671".into()),
            ("phone", "06-12-34-56-78".into(), "06-12-34-56-78".into()),
            ("phone", "phone=+14155552671".into(), "+14155552671".into()),
            ("email", "mail to Jörg.O'Neil+x@mail.bücher.example!".into(), "Jörg.O'Neil+x@mail.bücher.example".into()),
            ("email", "jo (at) example (dot) com".into(), "jo (at) example (dot) com".into()),
            ("iban", "DE89 3704 0044 0532 0130 00 AND MORE".into(), "DE89 3704 0044 0532 0130 00".into()),
            ("card", "4111-1111-1111-1111".into(), "4111-1111-1111-1111".into()),
            ("ip", "from 203.0.113.7:80".into(), "203.0.113.7".into()),
            ("ip", "2001:db8::1:2".into(), "2001:db8::1:2".into()),
            ("phone", "call +49 (30) 1234-5678 now".into(), "+49 (30) 1234-5678".into()),
            ("phone", "(555) 010-4477".into(), "(555) 010-4477".into()),
            ("phone", "030/1234567".into(), "030/1234567".into()),
            ("phone", "01 23 45 67 89".into(), "01 23 45 67 89".into()),
        ] {
            assert_eq!(hit(rule, &text).as_deref(), Some(found.as_str()), "{rule}: {text}");
        }
        assert!(hit("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1").is_some());
        assert!(hit("private_key", "-----BEGIN RSA PRIVATE KEY-----\nAA\n-----END RSA PRIVATE KEY-----").is_some());
    }

    #[test]
    fn what_is_left() {
        for (rule, text) in [
            ("api_key", "the sk-nearest-neighbour-method is slow"),
            ("bearer", "bearer authentication-with-certificates"),
            ("bearer", "basic training"),
            ("assigned_secret", "the password is incorrect"),
            ("assigned_secret", "password: required"),
            ("assigned_secret", "password = lexer.get_token()"),
            ("assigned_secret", "password = self.settings.password"),
            ("assigned_secret", "pass: the ball is out"),
            ("assigned_secret", "tests: 12, pass: 12"),
            ("assigned_secret", "names = ('client_password', 'curl_handle2')"),
            ("assigned_secret", "[\"api_key\", \"secret_key_2\", \"b\"]"),
            ("assigned_secret", "MAX_TOKENS=unlimitednumberofthem"),
            ("assigned_secret", "headers[\"x-api-key\"], headers[\"accept\"]"),
            ("api_key", "the task-force-of-2024-and-others"),
            ("phone", "JIS X 0208/0212"),
            ("phone", "Cambridge, MA 02139-4307"),
            ("phone", "id 4155552671"),
            ("ip", "OID 1.3.6.1.4.1"),
            ("national_id", "000-12-3456 and 2024-05-0612 and 123-45-67890"),
            ("mac", "de:ad:be:ef:00:11:22:33 and 01-02-03-04-05-06 and 00:00:00:00:00:00"),
            ("email", "look at the dot product and at dot com"),
            ("assigned_secret", "a cookie: two of them, please"),
            ("assigned_secret", "PRIMARY_KEY: customer_number"),
            ("url_password", "see https://x.example:8443/a and mail b@c.example"),
            ("assigned_secret", "token: authentication"),
            ("assigned_secret", "the secret is patience"),
            ("email", "@decorator and a@b"),
            ("iban", "DE00 3704 0044 0532 0130 00"),
            // A digest for which modulo 97 is 1.
            ("iban", "be88fa462d6e85bd"),
            ("card", "1234567890123456"),
            ("card", "4111111111111112"),
            ("card", "0000000000000000"),
            ("card", "d-4111111111111111"),
            ("ip", "version v1.2.3.4 and 127.0.0.1 and 999.1.1.1"),
            ("ip", "std::fmt at 12:30:45"),
            ("phone", "2026-03-01 10:00:00 and 1760000000"),
            ("phone", "chatcmpl-555-010-4477-a"),
            ("phone", "order 4711, 3.14159265, 12 000 000"),
        ] {
            assert_eq!(hit(rule, text), None, "{rule}: {text}");
        }
    }
}
