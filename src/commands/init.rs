//! `evalctl init`: files to start from. The suite runs as it stands, on recorded answers, without a network or a key.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use crate::cli::InitArgs;
use crate::commands::exit::CommandError;
use crate::commands::{World, print};
use crate::store::StoreError;
use crate::util::text::visible;

/// Where the dataset is, as the repository's own suite names it; in the written folder all files stand together.
const DATASET: &str = "../datasets/opening-hours/";

/// The files, by their paths below the folder.
const FILES: [(&str, &str); 5] = [
    ("suite.yaml", include_str!("../../suites/opening-hours.yaml")),
    ("data.jsonl", include_str!("../../datasets/opening-hours/data.jsonl")),
    ("schema.json", include_str!("../../datasets/opening-hours/schema.json")),
    ("answers/current.jsonl", include_str!("../../datasets/opening-hours/answers/current.jsonl")),
    ("answers/candidate.jsonl", include_str!("../../datasets/opening-hours/answers/candidate.jsonl")),
];

/// Carries out `evalctl init`.
///
/// # Errors
/// When one of the files is already there (nothing is written then) or cannot be written.
pub fn init(args: &InitArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    if let Some((name, _)) = FILES.iter().find(|(name, _)| args.folder.join(name).symlink_metadata().is_ok()) {
        let message = format!("`{}` is already there", visible(&args.folder.join(name).display().to_string()));
        return Err(CommandError::usage(message, "name another folder: evalctl init DIR"));
    }
    for (name, text) in FILES {
        let path = args.folder.join(name);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path))
            .and_then(|mut file| file.write_all(text.replace(DATASET, "").as_bytes()));
        written.map_err(|source| match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::ReadOnlyFilesystem => {
                CommandError::usage(format!("could not write `{}`: {source}", path.display()), "name another folder")
            }
            _ => StoreError::Io { doing: "write", path: path.clone(), source }.into(),
        })?;
    }
    let suite = visible(&args.folder.join("suite.yaml").display().to_string()).into_owned();
    print(world, format!("wrote {} files; now run: evalctl run {suite}\n", FILES.len()).as_bytes())
}
