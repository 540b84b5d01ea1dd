//! What a measurement ran on.

use std::fs;

/// The processor, how many of it, and the system.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor_model(&info).unwrap_or(std::env::consts::ARCH);
    format!("{cores} × {model}, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

fn processor_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// KiB as MiB, cut to a tenth.
pub(super) fn mebibytes(kib: u64) -> f64 {
    let tenths = kib.saturating_mul(10) / 1_024;
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

/// A number of things, to compute rates with: exact up to four thousand million.
pub(super) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Rounded to so many places, for people and for JSON.
pub(super) fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 3.00GHz\nflags\t: fpu\n";
        assert_eq!(processor_model(info), Some("Some CPU @ 3.00GHz"));
        assert_eq!(processor_model("processor\t: 0\n"), None);
    }

    #[test]
    fn memory_is_told_to_a_tenth() {
        for (kib, mib) in [(0, "0"), (1_024, "1"), (40_000, "39"), (102_350, "99.9")] {
            assert_eq!(mebibytes(kib).to_string(), mib);
        }
    }

    #[test]
    fn figures_are_rounded() {
        assert_eq!(rounded(0.123_45, 3).to_string(), "0.123");
        assert_eq!(rounded(number(12_345), -2).to_string(), "12300");
    }
}
