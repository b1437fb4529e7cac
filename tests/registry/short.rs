//! Whether a run leaves out what takes long.
#![forbid(unsafe_code)]

/// Whether `EVENKEEL_SHORT=1` shortens what takes long: on an emulated CPU a test is up to a hundred times
/// slower. Every law is still tested, on fewer lengths.
pub fn short() -> bool {
    std::env::var_os("EVENKEEL_SHORT").is_some_and(|value| value == "1")
}
