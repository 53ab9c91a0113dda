//! Keys that services and programs send back: in no spelling and no place does one reach a file or a terminal, and no
//! mark changes in silence because of it.

use std::path::Path;

use evalctl::util::base64;
use serde_json::{Value, json};

use crate::support::server::{self, Asked, Model, Step};
use crate::support::{Folder, finish};

/// The keys of the run, each of another kind, with characters that every kind of escape changes.
const KEYS: [&str; 5] =
    ["sK-pl4nt/ed+Ab=9", "te4m<&>\"Qx'77~z", "c00kie-J4r_Crumb", "pr0xy+Pass/Wd", "pr0gr4m$K3y%41;x"];

/// How a service may write a key.
fn spellings(key: &str) -> Vec<String> {
    let each = |write: &dyn Fn(char) -> String| key.chars().map(write).collect::<String>();
    let odd = |write: &dyn Fn(u32) -> String| {
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { write(c.into()) }).collect::<String>()
    };
    let of = |c: char| u32::from(c);
    let url_safe = |code: String| code.replace('+', "-").replace('/', "_");
    let hex = each(&|c| format!("{:02x}", of(c)));
    let mut all = vec![
        key.to_owned(),
        key.to_lowercase(),
        key.to_uppercase(),
        hex.to_uppercase(),
        hex,
        odd(&|c| format!("%{c:02X}")),
        odd(&|c| format!("%{c:02x}")),
        odd(&|c| format!("%25{c:02X}")),
        each(&|c| format!("%{:02X}", of(c))),
        each(&|c| format!("%{:02x}", of(c))),
        odd(&|c| format!("\\u{c:04X}")),
        odd(&|c| format!("\\\\u{c:04x}")),
        each(&|c| format!("\\u{:04x}", of(c))),
        each(&|c| format!("\\x{:02x}", of(c))),
        serde_json::to_string(key).unwrap().trim_matches('"').replace('/', "\\/"),
        odd(&|c| format!("&#{c};")),
        odd(&|c| format!("&#{c:04};")),
        each(&|c| format!("&#x{:x};", of(c))),
        each(&|c| format!("&#X{:X};", of(c))),
        key.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&apos;"),
        // Only the first character of each kind.
        key.replacen(|c: char| !c.is_ascii_alphanumeric(), &format!("\\u{:04x}", of(odd_of(key))), 1),
    ];
    for before in ["", "u", "me", "me:", "user:", "user: "] {
        let code = base64::encode(format!("{before}{key}").as_bytes());
        all.extend([code.clone(), url_safe(code)]);
    }
    all
}

fn odd_of(key: &str) -> char {
    key.chars().find(|c| !c.is_ascii_alphanumeric()).unwrap()
}

/// All keys in one spelling each, apart from each other.
fn planted(spelling: usize) -> String {
    KEYS.map(|key| spellings(key)[spelling].clone()).join(" | ")
}

const PLACES: [&str; 10] =
    ["text", "pieces", "reasoning", "call", "model", "finish", "refused", "html", "broken", "stream error"];

/// Answers with the keys in the place and the spelling that the prompt asks for.
fn echo(asked: &Asked) -> Vec<Step> {
    let text = asked.text();
    let (place, spelling) = text.rsplit_once(' ').unwrap();
    let said = planted(spelling.parse().unwrap());
    let events = |events: &[Value]| {
        let mut steps = vec![server::stream_head()];
        steps.extend(events.iter().map(server::event));
        steps.extend(server::stream_end(2));
        steps
    };
    let delta = |delta: Value| json!({ "model": "one", "choices": [{ "index": 0, "delta": delta }] });
    match place {
        "text" => server::answer(asked, &said),
        "pieces" => {
            let middle = (said.len() / 2..).find(|at| said.is_char_boundary(*at)).unwrap();
            let (head, tail) = said.split_at(middle);
            events(&[delta(json!({ "content": head })), delta(json!({ "content": tail }))])
        }
        "reasoning" => events(&[delta(json!({ "reasoning_content": said, "content": "yes" }))]),
        "call" => {
            let arguments = json!({ "said": said }).to_string();
            let call = json!([{ "index": 0, "id": said, "function": { "name": said, "arguments": arguments } }]);
            events(&[delta(json!({ "tool_calls": call }))])
        }
        "model" => events(&[json!({ "model": said, "system_fingerprint": said, "service_tier": said,
                "choices": [{ "index": 0, "delta": { "content": "yes" } }] })]),
        "finish" => {
            let ended = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": said }] });
            let mut steps = vec![server::stream_head(), server::piece("yes"), server::event(&ended)];
            steps.extend([Step::Chunk(b"data: [DONE]\n\n".to_vec()), Step::End]);
            steps
        }
        "refused" => server::error(401, &[], &said),
        "html" => server::plain(500, &[("content-type", "text/html")], &format!("<p>{said}</p>")),
        "broken" => server::plain(200, &[("content-type", "application/json")], &format!("{{\"choices\": {said}")),
        _ => vec![server::stream_head(), server::event(&json!({ "error": { "message": said } })), Step::End],
    }
}

/// Everything in a folder, with the names of the files.
fn contents(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            contents(&path, into);
        } else {
            into.push((
                path.display().to_string(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
}

/// Fails where a key stands in any spelling, also as JSON writes that.
#[track_caller]
fn assert_no_key(all: &[(String, String)]) {
    for (name, text) in all {
        let lower = text.to_lowercase();
        for spelling in KEYS.iter().flat_map(|key| spellings(key)) {
            let quoted = serde_json::to_string(&spelling).unwrap();
            for form in [spelling.as_str(), &quoted[1..quoted.len() - 1]] {
                assert!(!lower.contains(&form.to_lowercase()), "{name} holds {form}");
            }
        }
    }
}

#[test]
fn no_key_is_written_in_any_spelling_from_any_place() {
    let model = Model::start(echo);
    let folder = Folder::new();
    let count = spellings(KEYS[0]).len();
    let asked: Vec<(String, usize)> =
        PLACES.iter().flat_map(|place| (0..count).map(move |spelling| ((*place).to_owned(), spelling))).collect();
    let row = |(n, (place, spelling)): (usize, &(String, usize))| {
        let program = if *spelling % 2 == 0 { "answers" } else { "errors" };
        format!(
            "{}\n",
            json!({ "id": format!("s{n}"), "q": format!("{place} {spelling}"), "target": "yes",
            "plant": format!("plant:{program}/{spelling}:") })
        )
    };
    folder.write("data.jsonl", asked.iter().enumerate().map(row).collect::<String>());
    for spelling in 0..count {
        let said = planted(spelling);
        let call = json!([{ "name": said, "arguments": { "said": said } }]);
        let answer = json!({ "text": said, "tool_calls": call, "model": said, "finish": "stop" });
        folder.write(&format!("answers/{spelling}"), format!("{answer}\n"));
        folder.write(&format!("errors/{spelling}"), format!("{said}\n"));
    }
    folder.write(
        "program.sh",
        "while read -r line; do file=${line##*plant:}; file=${file%%:*}\n\
         case $file in errors*) cat \"$file\" >&2; exit 3;; *) cat \"$file\";; esac; done\n",
    );
    folder.write(
        "suite.yaml",
        format!(
            "name: keys\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ q }}}}\" }}\ncandidates:\n  \
             - id: service\n    openai: {{ model: one, base_url: \"{}\", api_key_env: MY_KEY }}\n    retries: 0\n    \
             headers: {{ x-team: \"team ${{TEAM_TOKEN}}\", cookie: \"jar=${{JAR}}\" }}\n  \
             - id: program\n    command: {{ program: [sh, program.sh], env: [PROGRAM_SECRET] }}\n    retries: 0\n\
             baseline: service\nscorers: [{{ exact: {{}} }}]\nlimits: {{ max_failures: 100% }}\n",
            model.base_url()
        ),
    );
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run"]);
    let proxy = format!("http://user:{}@127.0.0.1:9", KEYS[3].replace('+', "%2B").replace('/', "%2f"));
    command.env("MY_KEY", KEYS[0]).env("TEAM_TOKEN", KEYS[1]).env("JAR", KEYS[2]).env("http_proxy", proxy);
    command.env("PROGRAM_SECRET", KEYS[4]);
    let output = finish(command).expect(0);
    let mut all = vec![("standard output".to_owned(), output.out), ("standard error".to_owned(), output.err)];
    for form in ["terminal", "md", "csv"] {
        all.push((form.to_owned(), folder.run(&["report", "run", "--format", form]).expect(0).out));
    }
    let scored = folder.run(&["score", "run"]).expect(0);
    all.extend([("score".to_owned(), scored.out), ("score".to_owned(), scored.err)]);
    contents(&folder.path().join("run"), &mut all);
    assert_no_key(&all);

    // The keys were there, in each answer and each failure, and no answer that held one has a mark.
    let records: Vec<Value> =
        folder.read("run/records.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2 * asked.len());
    for record in &records {
        match record.get("answer") {
            Some(answer) => assert!(answer["keys_replaced"].as_u64() >= Some(KEYS.len() as u64), "{record}"),
            None => assert!(record["failure"].to_string().contains("[key]"), "{record}"),
        }
    }
    let report = folder.json("run/report.json");
    let answers = records.iter().filter(|record| record.get("answer").is_some()).count() as u64;
    let counts = |name: &str| -> u64 {
        report["candidates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|candidate| candidate["counts"][name].as_u64().unwrap())
            .sum()
    };
    assert_eq!((counts("scored"), counts("unscored")), (0, answers));
    let notes = report["notes"].to_string();
    let expected = format!("{} answers of `service` held a key and were changed", 6 * count);
    assert!(notes.contains(&expected), "{notes}");
}

/// A suite with a program that is given these variables, and a gate.
fn program(folder: &Folder, script: &str, variables: &[&str], gate: &str) {
    folder.write("answer.sh", script);
    folder.write(
        "suite.yaml",
        format!(
            "name: program\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: '{{{{ input }}}}' }}\n\
             candidates:\n  - id: program\n    command: {{ program: [sh, answer.sh], env: [{}] }}\n\
             scorers: [{{ exact: {{}} }}]\n{gate}",
            variables.join(", ")
        ),
    );
}

#[test]
fn what_a_program_needs_and_is_no_key_stays_in_its_answers() {
    let variables = [
        ("REGION", "eu-west-1"),
        ("HOME", "/home/agent-7"),
        ("LANG", "C.UTF-8"),
        ("TZ", "Europe/Berlin"),
        ("STAGE", "prod-1"),
        ("MODEL", "small-2026-09-30"),
    ];
    let folder = Folder::new();
    let row = |(name, value): &(&str, &str)| {
        format!("{}\n", json!({ "id": name, "input": format!("<{name}>"), "target": value }))
    };
    folder.write("data.jsonl", variables.iter().map(row).collect::<String>());
    let cases = variables.map(|(name, _)| format!("*'<{name}>'*) said=${name};;\n")).concat();
    let script = format!(
        "while read -r line; do case \"$line\" in\n{cases}esac\nprintf '{{\"text\":\"%s\"}}\\n' \"$said\"; done\n"
    );
    program(&folder, &script, &variables.map(|(name, _)| name), "");
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    command.envs(variables);
    finish(command).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!(report["candidates"][0]["counts"]["scored"], variables.len());
    let exact = report["candidates"][0]["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "exact");
    assert_eq!(exact.unwrap()["value"], 1.0, "{exact:?}");
    assert!(!folder.read("run/records.jsonl").contains("keys_replaced"));
}

#[test]
fn an_answer_that_held_a_key_counts_as_missing_and_never_helps() {
    // 90 right answers of 90 pass a bar of 95 %, but not when 10 more may have been wrong.
    let gate = "gates: [{ metric: exact, at_least: 0.95 }]\n";
    let script = "while read -r line; do case \"$line\" in\n\
                  *odd*) echo \"{\\\"text\\\":\\\"no $SERVICE_KEY\\\"}\";;\n\
                  *) echo '{\"text\":\"yes\"}';;\n\
                  esac; done\n";
    let run = |odd: usize| {
        let folder = Folder::new();
        let row = |n: usize| {
            let input = if n < odd { "odd" } else { "even" };
            format!("{}\n", json!({ "id": format!("s{n}"), "input": input, "target": "yes" }))
        };
        folder.write("data.jsonl", (0..90 + odd).map(row).collect::<String>());
        program(&folder, script, &["SERVICE_KEY"], gate);
        let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
        command.env("SERVICE_KEY", "k3y-of-the-service");
        (finish(command), folder)
    };
    run(0).0.expect(0);
    let (output, folder) = run(10);
    output.expect(4);
    let scores = folder.read("run/scores-1.jsonl");
    assert_eq!(scores.matches("the answer held a key, which was taken out").count(), 10, "{scores}");
    let notes = folder.json("run/report.json")["notes"].to_string();
    assert!(notes.contains("10 answers of `program` held a key and were changed"), "{notes}");
    // Marking again finds the same.
    folder.run(&["score", "run"]).expect(4);
}
