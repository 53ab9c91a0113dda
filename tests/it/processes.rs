//! Programs, and what they start: gone when the run is, however it ends.

use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::{Folder, finish, insist, tell, until};

/// A number of seconds to sleep that no other test sleeps for: it tells the sleepers of a folder.
fn sign(folder: &Folder) -> String {
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let (_, number) = name.split_once("-it-").unwrap();
    format!("98765.{}", number.replace('-', "0"))
}

fn sleepers(sign: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(sign)).count()
}

/// Three tasks, one after another, for a program that has started a child in its own group, one in a group of its own, and
/// one that nobody is the parent of any more, before it does as the script says.
fn suite(folder: &Folder, script: &str) -> String {
    let sign = sign(folder);
    folder.write(
        "data.jsonl",
        (0..3).map(|n| format!("{}\n", json!({"id": n, "q": "a", "target": "a"}))).collect::<String>(),
    );
    folder.write(
        "program.sh",
        format!(
            "sleep {sign} >/dev/null 2>&1 </dev/null &\nsetsid sleep {sign} >/dev/null 2>&1 </dev/null &\n\
             (setsid sh -c 'sleep {sign} & exec sleep {sign}' >/dev/null 2>&1 </dev/null &)\n{script}\n"
        ),
    );
    folder.write(
        "suite.yaml",
        "name: programs\ndataset: { path: data.jsonl }\nprompt: { user: '{{ q }}' }\ncandidates:\n  - id: program\n    \
         command: { program: [sh, program.sh] }\n    retries: 0\n    in_flight: 1\n    timeout: 700ms\n\
         scorers: [{ exact: {} }]\nlimits: { max_failures: 100% }\n",
    );
    sign
}

const ANSWERS: &str = "while read -r line; do echo '{\"text\":\"a\"}'; done";

fn start(folder: &Folder) -> Child {
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_good_end_takes_all_that_a_program_has_started() {
    let folder = Folder::new();
    let sign = suite(&folder, ANSWERS);
    // One that has left its group, its parent and its environment, too.
    let hidden = format!("(env -i setsid sleep {sign} >/dev/null 2>&1 </dev/null &)\n");
    folder.write("program.sh", hidden + &folder.read("program.sh"));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    assert_eq!(sleepers(&sign), 0);
}

#[test]
fn a_candidate_that_is_done_ends_no_program_of_another() {
    let folder = Folder::new();
    suite(&folder, ANSWERS);
    folder.write("slow.sh", "while read -r line; do sleep 0.4; echo '{\"text\":\"a\"}'; done");
    let slow = "  - id: slow\n    command: { program: [sh, slow.sh] }\n    retries: 0\n    in_flight: 1\nscorers:";
    let both = folder.read("suite.yaml").replace("scorers:", slow);
    folder.write("suite.yaml", both);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!([0, 1].map(|index| report["candidates"][index]["counts"]["scored"].as_u64()), [Some(3); 2], "{report}");
}

#[test]
fn so_does_a_time_out_and_a_program_that_goes_and_leaves_its_output_open() {
    let folder = Folder::new();
    let sign = suite(&folder, "read -r line; sleep 1000");
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    assert_eq!(folder.read("run/records.jsonl").matches("timeout").count(), 3);
    assert_eq!(sleepers(&sign), 0);

    let folder = Folder::new();
    let sign = sign_of_holder(&folder);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    let records = folder.read("run/records.jsonl");
    assert_eq!(records.matches("it ended (exit status: 7)").count(), 3, "{records}");
    assert_eq!(sleepers(&sign), 0);
}

/// A program that ends while its child holds all its pipes, with time enough to see that.
fn sign_of_holder(folder: &Folder) -> String {
    let sign = sign(folder);
    suite(folder, &format!("read -r line; sleep {sign} &\nexit 7"));
    let patient = folder.read("suite.yaml").replace("700ms", "60s");
    folder.write("suite.yaml", patient);
    sign
}

#[test]
fn no_signal_leaves_any_behind() {
    for signals in [&["-KILL"][..], &["-TERM"], &["-INT"], &["-HUP", "-TERM"]] {
        let folder = Folder::new();
        let sign = suite(&folder, "sleep 1000");
        folder.write("suite.yaml", folder.read("suite.yaml").replace("700ms", "600s"));
        let mut child = start(&folder);
        until("the program's children", || sleepers(&sign) >= 4);
        tell(&child, signals[0]);
        insist(&mut child, signals.last().unwrap());
        until("the end of what was started", || sleepers(&sign) == 0);
    }
}

#[test]
fn ids_of_a_programs_own_are_no_matter() {
    for id in ["\\\"chatcmpl-$n\\\"", "$((n+7))", "null"] {
        let folder = Folder::new();
        suite(
            &folder,
            &format!(
                "n=0\nwhile read -r line; do n=$((n+1)); echo \"{{\\\"id\\\":{id},\\\"text\\\":\\\"a\\\"}}\"; done"
            ),
        );
        folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
        assert_eq!(folder.read("run/records.jsonl").matches("\"text\":\"a\"").count(), 3, "{id}");
    }
}

#[test]
fn an_answer_with_an_id_is_to_the_request_of_that_id() {
    let folder = Folder::new();
    folder.write(
        "data.jsonl",
        (0..4).map(|n| format!("{}\n", json!({"id": n, "q": "a", "target": "a"}))).collect::<String>(),
    );
    // It echoes the id, and before the third answer sends one more for the second, late.
    folder.write(
        "program.sh",
        "n=0\nwhile read -r line; do n=$((n+1)); id=${line#*\\\"id\\\":}; id=${id%%,*}\n\
         [ $n = 3 ] && echo \"{\\\"id\\\":$((id-1)),\\\"text\\\":\\\"stray\\\"}\" && sleep 1\n\
         echo \"{\\\"id\\\":$id,\\\"text\\\":\\\"a\\\"}\"; done\n",
    );
    folder.write(
        "suite.yaml",
        "name: ids\ndataset: { path: data.jsonl }\nprompt: { user: '{{ q }}' }\ncandidates:\n  - id: program\n    \
         command: { program: [sh, program.sh] }\n    retries: 0\n    in_flight: 1\nscorers: [{ exact: {} }]\n\
         limits: { max_failures: 100% }\n",
    );
    finish(folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"])).expect(0);
    let records = folder.read("run/records.jsonl");
    assert_eq!(records.matches("\"text\":\"a\"").count(), 3, "{records}");
    assert!(records.contains("its answer has the id 1, and the request had 2"), "{records}");
    assert!(!records.contains("\"text\":\"stray\""), "{records}");
}
