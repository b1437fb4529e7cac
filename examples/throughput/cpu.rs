//! What the system says about its CPU. All of it is optional: elsewhere than on Linux there is less.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

/// The model, or else the architecture.
pub fn name() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.replace("(R)", "").replace("(TM)", "").trim().to_owned())
    });
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Level and bytes of each cache of the first core that holds data, in order.
pub fn caches() -> Vec<(u32, u64)> {
    let indices = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").into_iter().flatten();
    let mut caches: Vec<_> = indices.flatten().filter_map(|index| cache(&index.path())).collect();
    caches.sort_unstable();
    caches
}

fn cache(index: &Path) -> Option<(u32, u64)> {
    let read = |file| fs::read_to_string(index.join(file)).ok();
    let holds_data = read("type")?.trim() != "Instruction";
    Some((read("level")?.trim().parse().ok()?, size(read("size")?.trim())?)).filter(|_| holds_data)
}

/// The bytes of a size like 48K.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[test]
fn sizes() {
    assert_eq!(size("64"), Some(64));
    assert_eq!(size("48K"), Some(48 << 10));
    assert_eq!(size("2048K"), Some(2 << 20));
    assert_eq!(size("480M"), Some(480 << 20));
    assert_eq!(size("1G"), Some(1 << 30));
    for text in ["", "K", "48KM", "48KiB", "-1K", "99999999999G"] {
        assert_eq!(size(text), None, "{text}");
    }
}
