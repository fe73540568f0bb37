//! Links the unwinder into the layer instead of needing `libgcc_s.so.1`: the guest brings no library into a process that
//! does not have it, and its start is not slowed by loading one.
//!
//! rustc asks for `-lgcc_s`; the linker finds this script of the same name first, which names the static parts.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "runs at build time, not in a guest")]

use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("gnu") {
        return Ok(());
    }
    let folder = env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-link-search=native={folder}");
    Ok(())
}
