//! `cargo xtask plot`: throughput and latency over time, as pictures, from what `cargo xtask bench … --json` printed.

mod drawing;
mod series;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use self::series::read;

/// `cargo xtask plot`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench payouts --rail vault --json > payouts-vault.json
  cargo xtask plot payouts-vault.json --out docs/images

Each file is what `cargo xtask bench payouts`, `drain` or `scale` printed with --json: its last line is read. FILE.json becomes
FILE-throughput.svg (payments of each block, by the time since the block before it) and FILE-latency.svg (from request to mined, for
the payments of each block), with a line for each run; those of a growing table and of many wallets are pictures of their own.")]
pub struct PlotArgs {
    /// What the benches printed
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The folder that the pictures are written into
    #[arg(long, default_value = "docs/images", value_name = "FOLDER")]
    pub out: PathBuf,
}

/// Draws every file, and names the pictures that were written.
///
/// # Errors
/// A file cannot be read or holds no series, or a picture cannot be written.
pub fn run(arguments: &PlotArgs) -> Result<Vec<PathBuf>> {
    let folder = &arguments.out;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut written = Vec::new();
    for file in &arguments.files {
        written.extend(draw_file(file, folder)?);
    }
    Ok(written)
}

fn draw_file(file: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let groups = read(&text).with_context(|| format!("{shown} cannot be drawn"))?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut written = Vec::new();
    for group in &groups {
        for (what, picture) in [("throughput", group.throughput()), ("latency", group.latency())] {
            let path = folder.join(format!("{stem}{}-{what}.svg", group.suffix));
            let svg = drawing::draw(&picture).with_context(|| format!("cannot draw {shown}"))?;
            fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_report_becomes_two_pictures() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("drained.json");
        let block = |t_s: u32| {
            format!(r#"{{"t_s": {t_s}, "payments": 500, "p50_ms": 900, "p95_ms": 1500}}"#)
        };
        let blocks = [1, 2, 3].map(block).join(", ");
        let report = format!(r#"{{"backlogs": [{{"backlog": "a & b", "blocks": [{blocks}]}}]}}"#);
        fs::write(&file, format!("  a table for people\n{report}\n")).unwrap();
        let out = folder.path().join("images");
        let written = run(&PlotArgs { files: vec![file], out: out.clone() }).unwrap();
        let names = ["drained-throughput.svg", "drained-latency.svg"].map(|name| out.join(name));
        assert_eq!(written, names);
        for path in written {
            let svg = fs::read_to_string(path).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains("polyline") && svg.contains("a &amp; b"), "{svg}");
        }
    }
}
