use serde_json::json;

use super::*;

fn redactor() -> Redactor {
    Redactor::new(&[SECRETS.as_slice(), PERSONAL.as_slice()].concat(), Custom::default())
}

fn clean(text: &str) -> String {
    let mut value = json!({ "a": text });
    redactor().exchange(&mut value, "c", true);
    value["a"].as_str().unwrap().to_owned()
}

#[test]
fn placeholders_are_the_same_within_a_conversation() {
    let mut redactor = redactor();
    let mut one = json!({"messages": ["from a@x.example to b@x.example", "A@x.example again"]});
    let counts = redactor.exchange(&mut one, "c", false);
    assert_eq!(one["messages"], json!(["from [EMAIL_1] to [EMAIL_2]", "[EMAIL_1] again"]));
    assert_eq!(counts, BTreeMap::from([("email".to_owned(), 3)]));
    let mut two = json!({"t": "b@x.example, c@x.example"});
    redactor.exchange(&mut two, "c", false);
    assert_eq!(two["t"], "[EMAIL_2], [EMAIL_3]");
    let mut other = json!({"t": "b@x.example"});
    redactor.exchange(&mut other, "d", false);
    assert_eq!(other["t"], "[EMAIL_1]");
}

#[test]
fn hidden_ones_are_found() {
    let key = "sk-proj-a1B2c3D4e5F6g7H8";
    let escaped = r#"{"to": "jo\u0040x.example", "url": "https:\/\/x.example\/?key=a1B2c3D4e5"}"#;
    assert_eq!(clean(escaped), r#"{"to":"[EMAIL_1]","url":"https://x.example/?key=[QUERY_KEY_1]"}"#);
    assert_eq!(clean(&escaped[..40]), "{\"to\": \"[EMAIL_1]\", \"url\": \"http");
    assert_eq!(clean("see https://x.example/?to=jo%40x.example"), "see https://x.example/?to=[EMAIL_1]");
    // "user: jo@x.example, more" in base64.
    assert_eq!(clean("data dXNlcjogam9AeC5leGFtcGxlLCBtb3Jl."), "data [BASE64_1].");
    let mut value = json!({"args": {key: 1, "password": "patience", "properties": {"password": {"type": "string"}}},
        "card": 4_111_111_111_111_111_u64, "n": 1_760_000_000_125_000_u64});
    redactor().exchange(&mut value, "c", true);
    assert_eq!(
        value,
        json!({"args": {"[API_KEY_1]": 1, "password": "[ASSIGNED_SECRET_1]",
        "properties": {"password": {"type": "string"}}}, "card": "[CARD_1]", "n": 1_760_000_000_125_000_u64})
    );
}

#[test]
fn hidden_deeper() {
    let key = "sk-proj-a1B2c3D4e5F6g7H8";
    // Only one of two fields of a name survives parsing; both were in the log.
    assert_eq!(clean(&format!(r#"{{"a": "{key}", "a": "x"}}"#)), r#"{"a": "[API_KEY_1]", "a": "x"}"#);
    // "user: jo@x.example, more and more of it, so that it must be wrapped".
    let (one, two) =
        ("dXNlcjogam9AeC5leGFtcGxlLCBtb3JlIGFuZCBtb3Jl", "IG9mIGl0LCBzbyB0aGF0IGl0IG11c3QgYmUgd3JhcHBlZA==");
    assert_eq!(clean(&format!("data={one}{two}.")), "data=[BASE64_1].");
    assert_eq!(clean(&format!("/files/of/{one}{two}")), "/files/of/[BASE64_1]");
    // A line of it before a word, and two.
    assert_eq!(clean(&format!("{one}\nnothing")), "[BASE64_1]\nnothing");
    // "Of me and nobody else but a mail: jo@x.example and so on, to the end": the address stands over two lines.
    let lines =
        ["T2YgbWUgYW5kIG5vYm9keSBl", "bHNlIGJ1dCBhIG1haWw6IGpv", "QHguZXhhbXBsZSBhbmQgc28g", "b24sIHRvIHRoZSBlbmQ="];
    for end in ["\n", "\r\n", "\r\n    "] {
        assert_eq!(clean(&format!("it: {}.", lines.join(end))), "it: [BASE64_1].");
        assert_eq!(clean(&format!("{}{end}word.", lines[..3].join(end))), format!("[BASE64_1]{end}word."));
    }
    // Escaped, and percent-encoded base64 of an address.
    assert_eq!(clean("to%3DdXNlcjogam9AeC5leGFtcGxlLCBtb3Jl%26"), "to=[BASE64_1]&");
    let mut value = json!({"body": {"passwords": ["a", "b"], "db_password": ["open", {"type": "string"}], "pwd": 471_199,
        "first_token": 0.25, "max_tokens": 12}});
    redactor().exchange(&mut value, "c", true);
    assert_eq!(
        value["body"],
        json!({"passwords": ["a", "b"], "db_password": ["[ASSIGNED_SECRET_1]", {"type": "string"}],
        "pwd": "[ASSIGNED_SECRET_2]", "first_token": 0.25, "max_tokens": 12})
    );
}

#[test]
fn ids_stay_ids() {
    let mut value = json!({"id": "jo@x.example", "conversation": "plain", "evalctl": "capture/1"});
    let counts = redactor().exchange(&mut value, "c", true);
    assert!(value["id"].as_str().unwrap().starts_with("r-"), "{value}");
    assert_eq!((value["conversation"].as_str(), counts["email"]), (Some("plain"), 1));
}

#[test]
fn fields_go_as_a_whole() {
    let rules = "/body/user\n/messages/*/name\n/list/0/a\n/not/there\nticket: T-\\d+\ndesk: ^17$\n";
    let custom = custom(rules, std::path::Path::new("r")).unwrap();
    let mut redactor = Redactor::new(&[], custom);
    let mut value = json!({"body": "{\"user\":\"u\",\"a\":1}", "messages": [{"name": "n", "content": "T-17"}],
        "list": "[{\"a\":1}]", "desk": {"n": 17, "T-1": 18}});
    assert_eq!(redactor.remove_fields(&mut value), 3);
    assert_eq!(redactor.idle_pointers().collect::<Vec<_>>(), ["/not/there"]);
    redactor.exchange(&mut value, "c", true);
    assert_eq!(
        value,
        json!({"body": "{\"a\":1}", "messages": [{"content": "[TICKET_1]"}], "list": "[{}]",
        "desk": {"n": "[DESK_1]", "[TICKET_2]": 18}})
    );
}

#[test]
fn places_that_hold_nothing_are_passed_over() {
    let edges = custom("edge: \\b\n", std::path::Path::new("r")).unwrap();
    let mut value = json!({"a": "né à la carte"});
    Redactor::new(&[], edges).exchange(&mut value, "c", true);
    assert_eq!(value["a"], "né à la carte");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut redactor = redactor();
    for conversation in 0..50 {
        let mut value = json!({ "t": format!("a{conversation}@x.example") });
        redactor.exchange(&mut value, &conversation.to_string(), false);
    }
    assert_eq!((redactor.remembered, redactor.known.len()), (50, 50));
}

/// A thousand conversations in which secrets and addresses are planted, in turn in every way that a log has for them.
#[test]
fn nothing_that_was_planted_survives() {
    let mut redactor = redactor();
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let word = |seed: u64, length: u64| -> String {
        let pick = |index| Digest::of(format!("{seed} {index}").as_bytes()).low64() % letters.len() as u64;
        let text: String =
            (0..length).map(|index| char::from(letters[usize::try_from(pick(index)).unwrap()])).collect();
        format!("{text}7Q")
    };
    let mut planted_count = 0;
    for seed in 0..1000_u64 {
        let secret = match seed % 10 {
            0 => format!("sk-proj-{}", word(seed, 30)),
            1 => format!("ghp_{}", word(seed, 34)),
            2 => format!("AKIA{}", word(seed, 14).to_uppercase()),
            3 => format!("AIza{}", word(seed, 33)),
            4 => format!("xoxb-{}-{}", 1000 + seed, word(seed, 20)),
            5 => format!("eyJ{}.eyJ{}.{}", word(seed, 20), word(seed + 1, 20), word(seed + 2, 20)),
            6 => format!("hf_{}", word(seed, 30)),
            7 => format!("sk-ant-api03-{}", word(seed, 40)),
            8 => format!("glpat-{}", word(seed, 20)),
            _ => format!("sk_live_{}", word(seed, 24)),
        };
        let mail = format!("{}.{}@{}.example", word(seed + 7, 5), seed, word(seed + 9, 8));
        let quoted = serde_json::to_string(&json!({"note": format!("{secret} {mail}")})).unwrap();
        let escaped = quoted.replace('@', "\\u0040");
        let mut value = json!({
            "id": format!("{seed}"),
            "messages": [
                {"role": "user", "content": format!("My key is {secret}, write to <{mail}>.")},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": escaped}}]},
                {"role": "tool", "content": format!("https://x.example/?q={}&to={}", secret, mail.replace('@', "%40"))},
            ],
            "body": {"metadata": {secret.clone(): mail.clone()}, "user": mail.clone()},
            "answer": {"text": format!("```\nexport KEY={secret}\n```\n({mail})"), "reasoning": secret.clone()},
            "failure": {"status": {"detail": format!("bad key {secret} of {mail}")}},
            "tags": {"who": mail.clone()},
        });
        planted_count += 2 * 6;
        redactor.exchange(&mut value, &format!("c{}", seed / 3), false);
        let left = value.to_string().to_lowercase();
        for planted in [&secret, &mail] {
            assert!(!left.contains(&planted.to_lowercase()), "{planted}: {value}");
            let local = planted.split('@').next().unwrap();
            assert!(!left.contains(&local.to_lowercase()), "{local}: {value}");
        }
    }
    assert_eq!(planted_count, 12_000);
}
