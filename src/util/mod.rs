//! Small tools without any knowledge of models or evaluations.

pub mod atomic;
pub mod base64;
pub mod clock;
pub mod digest;
pub mod escapes;
pub mod field;
pub mod given_file;
pub mod json;
pub mod micros;
pub mod number;
pub mod plain_file;
pub mod seal;
pub mod secret;
pub mod text;
