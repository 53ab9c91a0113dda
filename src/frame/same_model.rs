//! Whether the model that an answer names is the one that was asked for. Pure.
//!
//! Services give back what an alias stands for (`gpt-5-mini-2025-08-07`), names with the path of a list
//! (`models/gemini-2.5-pro`), of a gateway (`openai/gpt-5-mini`), of a region (`us.anthropic.claude-…-v1:0`) or of a file
//! (`/models/qwen.gguf`). Those are the same model. What is left after all that must be the same letter by letter: a
//! shorter name is another model (`gpt-5` is not `gpt-5-mini`), and so is another date of the same one where both are
//! dated, or another quantisation where both name one.

/// Whose models Bedrock has: it writes them with a dot before the name.
const VENDORS: [&str; 14] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "nvidia",
    "openai",
    "qwen",
    "writer",
];

/// How gateways are told to route a request; it decides about the way, not about the model.
const ROUTES: [&str; 9] = ["beta", "cheapest", "exacto", "extended", "fastest", "floor", "free", "nitro", "online"];

/// Endings of files with weights.
const FILES: [&str; 4] = [".gguf", ".safetensors", ".bin", ".pt"];

/// A name, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    /// What it is.
    base: Vec<String>,
    /// Which version of it: a date, `001`. Empty for an alias.
    version: Vec<String>,
    /// How its weights are stored; empty when it does not say.
    stored: Vec<String>,
    /// Whether it is `…-latest`.
    is_latest: bool,
}

/// Whether `named` is the model `asked`, or one that goes by that name.
pub fn is_same_model(asked: &str, named: &str) -> bool {
    let (asked, named) = (Name::of(asked), Name::of(named));
    let agree = |one: &[String], other: &[String]| one.is_empty() || other.is_empty() || one == other;
    if !agree(&asked.version, &named.version) || !agree(&asked.stored, &named.stored) {
        return false;
    }
    asked.base == named.base || asked.is_latest && is_newest_of(&asked.base, &named.base)
}

/// Whether a name is of the family that `…-latest` was asked for of: `gemini-flash-latest` is `gemini-2.5-flash`, but not
/// `gemini-2.5-flash-lite`.
fn is_newest_of(family: &[String], named: &[String]) -> bool {
    let mut wanted = family.iter().peekable();
    for part in named {
        if wanted.peek() == Some(&part) {
            wanted.next();
        } else if !is_number(part) && part != "preview" && part != "exp" {
            return false;
        }
    }
    wanted.next().is_none()
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

impl Name {
    fn of(name: &str) -> Name {
        let name = name.trim().to_lowercase().replace('\\', "/");
        // An address of a list, of a gateway, of an owner, of a folder.
        let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = FILES.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let (name, is_latest) = without_tag(name);
        let name = without_owner(&name);
        let parts = name.split(['-', '_', '.', '@', ':']).filter(|part| !part.is_empty());
        let mut base: Vec<String> = parts.map(str::to_owned).collect();
        let is_latest = is_latest || base.pop_if(|last| last == "latest" || last == "default").is_some();
        let stored = stored(&mut base);
        let version = version(&mut base);
        Name { base, version, stored, is_latest }
    }
}

/// A name without the tag behind its colon, where that says nothing of the model; and whether it says `latest`.
fn without_tag(name: &str) -> (String, bool) {
    let Some((front, tag)) = name.rsplit_once(':') else { return (name.to_owned(), false) };
    if tag == "latest" {
        return (front.to_owned(), true);
    }
    if ROUTES.contains(&tag) {
        return (front.to_owned(), false);
    }
    // Bedrock's `-v1:0`: the version of its own wrapping, behind the model's.
    let wrapped = front.rsplit_once("-v").filter(|(_, number)| is_number(number) && is_number(tag));
    (wrapped.map_or(name, |(front, _)| front).to_owned(), false)
}

/// A name without Bedrock's region and vendor.
fn without_owner(name: &str) -> &str {
    let vendor =
        |name: &str| name.split_once('.').filter(|(vendor, _)| VENDORS.contains(vendor)).map(|(_, rest)| rest.len());
    let rest = name.split_once('.').and_then(|(region, rest)| {
        (region.len() <= 6 && region.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .then(|| vendor(rest))
            .flatten()
    });
    rest.or_else(|| vendor(name)).map_or(name, |length| &name[name.len() - length..])
}

/// Takes how the weights are stored off the end of a name: `q4_k_m`, `awq`, `fp8`, `4bit`.
fn stored(base: &mut Vec<String>) -> Vec<String> {
    const WORDS: [&str; 15] = [
        "awq", "bf16", "bnb", "exl2", "f16", "f32", "fp16", "fp4", "fp8", "ggml", "gguf", "gptq", "int4", "int8", "mlx",
    ];
    let is_quantised = |part: &str| {
        let digits = part.strip_prefix("iq").or_else(|| part.strip_prefix('q'));
        digits.is_some_and(is_number) || part.strip_suffix("bit").is_some_and(is_number) || WORDS.contains(&part)
    };
    // `q4_k_m`: letters and digits behind it are of it.
    let tail = base.iter().rev().take_while(|part| is_quantised(part) || part.len() == 1).count();
    let start = base.len() - tail;
    let Some(first) = base[start..].iter().position(|part| is_quantised(part)) else { return Vec::new() };
    // A name that is nothing else keeps it.
    if start + first == 0 { Vec::new() } else { base.split_off(start + first) }
}

/// Takes a version off the end of a name: `2025-08-07`, `20250807`, `0613`, `001`, also behind a `v`, as in `…-20241022-v2`.
fn version(base: &mut Vec<String>) -> Vec<String> {
    let is_year = |part: &String| is_number(part) && part.len() == 4 && part.starts_with("20");
    let is_two = |part: &String| is_number(part) && part.len() == 2;
    let count = match base.as_slice() {
        [.., _, year, month, day] if is_year(year) && is_two(month) && is_two(day) => 3,
        // Google's: month, day; month, year.
        [.., _, month, day] if is_two(month) && is_two(day) => 2,
        [.., _, month, year] if is_two(month) && is_year(year) => 2,
        [.., _, date, wrapped]
            if is_number(date) && date.len() == 8 && wrapped.strip_prefix('v').is_some_and(is_number) =>
        {
            2
        }
        [_, .., last] if is_number(last) && matches!(last.len(), 3 | 4 | 6 | 8) => 1,
        _ => 0,
    };
    base.split_off(base.len() - count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_addresses_are_the_same_model() {
        for (asked, named) in [
            ("gpt-5-mini", "gpt-5-mini"),
            ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
            ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
            ("gpt-4", "gpt-4-0613"),
            ("openai/gpt-5-mini", "gpt-5-mini-2025-08-07"),
            ("gpt-5-mini", "openai/gpt-5-mini"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("gemini-2.0-flash", "gemini-2.0-flash-001"),
            ("gemini-flash-latest", "gemini-2.5-flash-preview-09-2025"),
            ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
            ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
            ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet-20241022"),
            ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022"),
            ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
            ("amazon.nova-pro-v1:0", "nova-pro"),
            ("mistral-large-latest", "mistral-large-2411"),
            ("mistral-small-latest", "mistral-small-latest"),
            ("grok-4", "grok-4-0709"),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1"),
            ("llama3", "llama3:latest"),
            ("Qwen/Qwen3-32B", "qwen3-32b"),
            ("qwen2.5-7b-instruct", "/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf"),
            ("Qwen2.5-7B-Instruct-AWQ", "qwen2.5-7b-instruct"),
            ("accounts/fireworks/models/llama-v3p1-8b-instruct", "llama-v3p1-8b-instruct"),
            ("m", "M"),
        ] {
            assert!(is_same_model(asked, named), "{asked} {named}: {:?} {:?}", Name::of(asked), Name::of(named));
        }
    }

    #[test]
    fn other_sizes_generations_and_dates_are_other_models() {
        for (asked, named) in [
            ("gpt-5-mini", "gpt-5"),
            ("gpt-5", "gpt-5-mini"),
            ("gpt-5", "gpt-5-mini-2025-08-07"),
            ("gpt-4o", "gpt-4o-mini"),
            ("gpt-4", "gpt-4.1"),
            ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
            ("claude-sonnet-4", "claude-sonnet-4-5"),
            ("claude-opus-4-1", "claude-opus-4-5-20251101"),
            ("gemini-flash-latest", "gemini-2.5-flash-lite"),
            ("gemini-2.5-pro", "gemini-2.5-flash"),
            ("mistral-large-2407", "mistral-large-2411"),
            ("deepseek-v3", "deepseek-v2"),
            ("deepseek-chat", "deepseek-reasoner"),
            ("llama3:8b", "llama3:70b"),
            ("qwen3-32b", "qwen3-8b"),
            ("qwen2.5-7b-instruct-q4_k_m", "qwen2.5-7b-instruct-q8_0"),
            ("m", "cheap-fallback"),
            ("m", ""),
        ] {
            assert!(!is_same_model(asked, named), "{asked} {named}: {:?} {:?}", Name::of(asked), Name::of(named));
            assert!(!is_same_model(named, asked), "{named} {asked}");
        }
    }
}
