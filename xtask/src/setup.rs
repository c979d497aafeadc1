//! System dependencies of the program and its tests.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::shell::{self, Result};

/// A Vulkan driver that runs on the CPU, and the Vulkan loader.
const VULKAN: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];
/// spirv-tools validates the shaders' SPIR-V; the rest is what the oracle's pip packages build on.
const TEST_TOOLS: [&str; 4] = ["spirv-tools", "python3-numpy", "python3-torch", "python3-venv"];

/// Open MPI, what its bindings are generated with, and what makes two hosts of one.
const MPI: [&str; 4] = ["iproute2", "libclang-dev", "libopenmpi-dev", "openmpi-bin"];

/// A browser whose software adapter runs WebGPU, a virtual screen, and libraries loaded when a window opens. Node.js is
/// the system's own.
const BROWSER_TOOLS: [&str; 7] =
    ["chromium", "xvfb", "xauth", "libx11-xcb1", "libxcursor1", "libxi6", "libxkbcommon-x11-0"];

/// Where Microsoft's shader compiler comes from as a Linux library: a Python package's source, of which one file is wanted.
const DXC_PACKAGE: &str =
    "compushady==0.17.5 --hash=sha256:5052caf9e955d8e7a48e22f536e82b44b72e83af46e824a9e99157c7809de691";
const DXC_IN_PACKAGE: &str = "compushady/backends/libdxcompiler_x86_64.so.3.7";

pub const ORACLE_VARIABLE: &str = "MULTINORM_ORACLE_PYTHON";
const REQUIREMENTS: &str = "tests/oracle/requirements.txt";
const AUTHORS_OPTIMIZERS: &str = "tests/oracle/optimizers.txt";

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum System {
    Debian,
    Arch,
    Fedora,
    OtherLinux,
    /// macOS has Metal and Windows has Direct3D 12: the adapter comes with the system.
    GpuIncluded,
}

impl System {
    pub fn here() -> System {
        if !cfg!(target_os = "linux") {
            return System::GpuIncluded;
        }
        System::from_os_release(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn from_os_release(text: &str) -> System {
        let value_of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let unquoted = |value: &str| value.replace(['"', '\''], "");
        // ID first: a derived system has its own name there, and that of its parent in ID_LIKE.
        let names = unquoted(value_of("ID=")) + " " + &unquoted(value_of("ID_LIKE="));
        for name in names.split_whitespace() {
            match name {
                "debian" | "ubuntu" => return System::Debian,
                "arch" => return System::Arch,
                "fedora" | "rhel" => return System::Fedora,
                _ => {}
            }
        }
        System::OtherLinux
    }
}

/// Installs a software Vulkan driver, or reports how to.
pub fn vulkan() -> Result<()> {
    let by_hand = match System::here() {
        System::Debian => return apt::install(&VULKAN),
        System::Arch => "pacman -S vulkan-icd-loader vulkan-swrast",
        System::Fedora => "dnf install vulkan-loader mesa-vulkan-drivers",
        System::OtherLinux => "install the Vulkan loader and Mesa's lavapipe driver",
        System::GpuIncluded => return Ok(()), // nothing to install; the program reports what it found
    };
    Err(format!("no GPU adapter was found; to get one: {by_hand}"))
}

/// Arguments of cargo for what is linted, documented and tested: everything, with MPI where there is a library of it, and
/// in one profile, so that proc-macros and build scripts are built only once.
pub fn workspace() -> Vec<&'static str> {
    let mut arguments = vec!["--workspace", "--release"];
    if shell::succeeds(Command::new("mpicc").arg("--version")) {
        arguments.extend(["--features", "multinorm/mpi"]);
    } else {
        eprintln!("xtask: no mpicc found: training on several ranks is not tested");
    }
    arguments
}

/// Installs what the tests need; returns the oracle's Python.
pub fn for_tests() -> Result<PathBuf> {
    let system = System::here();
    if system == System::Debian {
        apt::install(&[&VULKAN[..], &TEST_TOOLS[..], &MPI[..]].concat())?;
    }
    let python = match env::var_os(ORACLE_VARIABLE) {
        Some(python) => python.into(),
        // Debian's own Python, for Debian's own PyTorch: another one may come first on the PATH.
        None if system == System::Debian => oracle_venv("/usr/bin/python3")?,
        None if shell::succeeds(Command::new("python3").args(["-c", "import torch"])) => oracle_venv("python3")?,
        None => return Err(without_torch(system)),
    };
    direct3d_compiler(&python)?;
    Ok(python)
}

/// Fetches .multinorm/dxc/libdxcompiler.so, with which the tests compile every kernel's HLSL.
fn direct3d_compiler(python: &Path) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(()); // the library is for that system alone, and so is the test
    }
    let folder = shell::root().join(".multinorm/dxc");
    let library = folder.join("libdxcompiler.so");
    let stamp = folder.join("installed-package.txt");
    if is_current(&stamp, DXC_PACKAGE) && library.exists() {
        return Ok(());
    }
    eprintln!("xtask: fetching Microsoft's shader compiler into .multinorm/dxc (67 MB)");
    let write = |path: &Path, text: &str| fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let requirement = folder.join("requirements.txt");
    write(&requirement, DXC_PACKAGE)?;
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
    let source = ["--no-binary", ":all:", "--dest"];
    let mut download = Command::new(python);
    download.args(pip).args(source).arg(&folder).arg("--requirement").arg(&requirement);
    shell::run(&mut download)?;
    let package = folder.join("compushady-0.17.5.tar.gz");
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--gzip").arg("--file").arg(&package).arg("--directory").arg(&folder);
    unpack.args(["--strip-components=3", &format!("compushady-0.17.5/{DXC_IN_PACKAGE}")]);
    shell::run(&mut unpack)?;
    let unpacked = folder.join(DXC_IN_PACKAGE.rsplit('/').next().unwrap_or_default());
    fs::rename(&unpacked, &library).map_err(|error| format!("{}: {error}", unpacked.display()))?;
    let _ = fs::remove_file(&package); // it is not needed any more
    write(&stamp, DXC_PACKAGE)
}

/// Installs what the lab's tests need; returns the folder with their packages.
pub fn for_browser_tests() -> Result<PathBuf> {
    match System::here() {
        System::Debian => {
            let node = ["nodejs", "npm"]
                .into_iter()
                .filter(|program| !is_there(if *program == "nodejs" { "node" } else { program }));
            apt::install(&BROWSER_TOOLS.into_iter().chain(node).collect::<Vec<_>>())?;
        }
        _ => {
            let missing: Vec<&str> =
                ["chromium", "node", "npm", "Xvfb"].into_iter().filter(|program| !is_there(program)).collect();
            if !missing.is_empty() {
                return Err(format!("the lab's tests need {}, which are not found", missing.join(", ")));
            }
        }
    }
    let tests = shell::root().join("web/tests");
    let folder = shell::root().join(".multinorm/browser");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let wanted = fs::read_to_string(tests.join("package.json")).map_err(|error| format!("web/tests: {error}"))?;
    let stamp = folder.join("installed-package.json");
    if !is_current(&stamp, &wanted) {
        eprintln!("xtask: installing the browser tests' packages in .multinorm/browser");
        let place = folder.join("package.json");
        fs::write(&place, &wanted).map_err(|error| format!("{}: {error}", place.display()))?;
        let install = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--prefix"];
        shell::run(Command::new("npm").args(install).arg(&folder))?;
        fs::write(&stamp, &wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    }
    Ok(folder)
}

/// Installs Rust's standard library for a target.
///
/// Without rustup the system's package is asked for the target, and the build says so if it is missing.
pub fn add_target(target: &str) -> Result<()> {
    let targets = shell::output_of(Command::new("rustup").args(["target", "list", "--installed"]));
    if targets.is_some_and(|targets| !targets.lines().any(|installed| installed == target)) {
        shell::run(Command::new("rustup").args(["target", "add", target]))?;
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    shell::succeeds(Command::new("which").arg(program))
}

fn without_torch(system: System) -> String {
    let packages = match system {
        System::Arch => "pacman -S vulkan-icd-loader vulkan-swrast spirv-tools python-pytorch",
        System::Fedora => "dnf install vulkan-loader mesa-vulkan-drivers spirv-tools python3-torch",
        _ => "spirv-tools, and PyTorch so that `python3 -c 'import torch'` works",
    };
    format!(
        "the tests compare with PyTorch. Install: {packages}\nor set {ORACLE_VARIABLE} to a Python that has torch and transformers"
    )
}

fn oracle_venv(system_python: &str) -> Result<PathBuf> {
    let requirements = shell::root().join(REQUIREMENTS);
    let authors = shell::root().join(AUTHORS_OPTIMIZERS);
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let wanted = read(&requirements)? + &read(&authors)?;
    let venv = shell::root().join(".multinorm").join("oracle-venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    // Written last: an interrupted installation does not have it.
    let stamp = venv.join("installed-requirements.txt");
    if is_current(&stamp, &wanted) && shell::succeeds(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    eprintln!("xtask: creating the oracle's Python environment in .multinorm/oracle-venv");
    shell::run(Command::new(system_python).args(["-m", "venv", "--clear", "--system-site-packages"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--requirement"];
    shell::run(Command::new(&python).args(pip).arg(&requirements))?;
    shell::run(Command::new(&python).args(pip).arg(&authors).arg("--no-deps"))?;
    shell::run(Command::new(&python).args(["-c", "import torch, lion_pytorch, safetensors, transformers"]))?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(python)
}

fn is_current(stamp: &Path, wanted: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_told_apart_by_os_release() {
        let check = |text, expect| assert_eq!(System::from_os_release(text), expect, "{text}");
        check("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", System::Debian);
        check("ID_LIKE=debian\nID=ubuntu\n", System::Debian);
        check("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", System::Debian);
        check("ID=manjaro\nID_LIKE=arch\n", System::Arch);
        check("ID='fedora'\n", System::Fedora);
        check("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", System::Fedora);
        check("ID=alpine\nVERSION_ID=3.20\n", System::OtherLinux);
        check("", System::OtherLinux);
    }
}
