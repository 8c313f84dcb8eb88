//! A small file system of its own, for tests of full disks. Mounting one takes
//! rights that not every machine gives; such a test then says that it was skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// A new folder `folder` that holds `size`, as in `48m`; `None` where it cannot be mounted.
    pub fn mount(folder: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&folder).expect("the temporary folder can be written");
        let disk = Self(folder);
        disk.set(&format!("size={size}")).then_some(disk)
    }

    /// Gives it another size. Returns whether that could be done.
    pub fn resize(&self, size: &str) -> bool {
        self.set(&format!("remount,size={size}"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills what is left with a file.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut size = 64 << 20;
        let mut ballast = Vec::new();
        while size >= 512 {
            let longer = [ballast.clone(), vec![0; size]].concat();
            match fs::write(&path, &longer) {
                Ok(()) => ballast = longer,
                Err(_) => size /= 2,
            }
        }
        path
    }

    fn set(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "phalanx-test"]).arg(&self.0);
        mount.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing is mounted there where that failed.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
