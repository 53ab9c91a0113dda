//! A fault of the user's input, with its place, and the collection in which all of them are reported together.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where in a file something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The file as the user named it; `None` for the command line and the environment.
    pub file: Option<PathBuf>,
    /// Line, from 1; `None` for the file as a whole.
    pub line: Option<u64>,
    /// Column in characters, from 1.
    pub column: Option<u64>,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: &Path) -> Place {
        Place { file: Some(file.to_owned()), line: None, column: None }
    }

    /// A line of a file, from 1.
    pub fn line(file: &Path, line: u64) -> Place {
        Place { file: Some(file.to_owned()), line: Some(line), column: None }
    }

    /// A line and column of a file, both from 1.
    pub fn at(file: &Path, line: u64, column: u64) -> Place {
        Place { file: Some(file.to_owned()), line: Some(line), column: Some(column) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", crate::util::text::visible(&file.display().to_string()))?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
                if let Some(column) = self.column {
                    write!(f, ":{column}")?;
                }
            }
        }
        Ok(())
    }
}

/// One thing that is wrong with what the user gave us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong: lower case, no final stop, names in backticks.
    pub message: String,
    /// The source line it stands on, where there is one worth showing.
    pub excerpt: Option<String>,
    /// What to do about it, or what was probably meant.
    pub help: Option<String>,
}

impl Fault {
    /// A fault at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Fault {
        Fault { place, message: message.into(), excerpt: None, help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}

/// Prints as rustc does: the message, `--> place`, the source line with a caret, then the help.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        let place = self.place.to_string();
        if !place.is_empty() {
            write!(f, "\n  --> {place}")?;
        }
        if let (Some(excerpt), Some(line)) = (&self.excerpt, self.place.line) {
            let (shown, caret) = crate::util::text::excerpt(excerpt, self.place.column.unwrap_or(1));
            let number = line.to_string();
            let blank = " ".repeat(number.len());
            write!(f, "\n {blank} |\n {number} | {shown}\n {blank} | {}^", " ".repeat(caret))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   = help: {help}")?;
        }
        Ok(())
    }
}

/// Every fault found, to be reported together, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// No faults yet.
    pub fn new() -> Faults {
        Faults::default()
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Ok(value)` when nothing is wrong.
    ///
    /// # Errors
    /// The faults themselves, when there are any.
    pub fn or<T>(self, value: T) -> Result<T, Faults> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
