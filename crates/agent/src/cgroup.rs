//! Whether a `/proc/PID/cgroup` belongs to a container, by the container's id.
//!
//! The id is the last path component of some controller's line, bare or dressed by the runtime:
//!
//! ```text
//!  cgroupfs driver    11:memory:/kubepods/besteffort/pod<uid>/<id>
//!  systemd driver     0::/kubepods.slice/kubepods-pod<uid>.slice/cri-containerd-<id>.scope
//!  containerd (v1)    /system.slice/containerd.service/kubepods-…:cri-containerd:<id>
//!  CRI-O              …/crio-<id>.scope   (its monitor is crio-conmon-<id>.scope and must not match)
//!  Docker             /docker/<id>   …/docker-<id>.scope
//! ```
//!
//! A container may make cgroups of its own below that (nested systemd), so any component may match.
//! Called by `target`; pure.

/// What a runtime may put before the id in a component.
const PREFIXES: [&str; 5] = ["cri-containerd-", "crio-", "docker-", "libpod-", "containerd-"];

/// Whether the text of a `/proc/PID/cgroup` names the container `id`.
pub fn names_container(cgroup: &str, id: &str) -> bool {
    cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| path.split('/'))
        .any(|component| component_is(component, id))
}

fn component_is(component: &str, id: &str) -> bool {
    let component = component.strip_suffix(".scope").unwrap_or(component);
    // containerd under systemd without delegation: `slice:cri-containerd:id`.
    let component = component.rsplit_once(':').map_or(component, |(_, last)| last);
    component == id || PREFIXES.iter().any(|prefix| component.strip_prefix(prefix) == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4d5f0b8a4f6f1c0e4d5f0b8a4f6f1c0e4d5f0b8a4f6f1c0e4d5f0b8a4f6f1c0e";

    #[test]
    fn every_runtime_and_both_versions_match() {
        for path in [
            format!("11:memory:/kubepods/besteffort/pod1f2e/{ID}"),
            format!("0::/kubepods.slice/kubepods-pod1f2e.slice/cri-containerd-{ID}.scope"),
            format!("0::/kubepods.slice/kubepods-pod1f2e.slice/crio-{ID}.scope"),
            format!("5:cpu,cpuacct:/system.slice/containerd.service/kubepods-pod1f2e.slice:cri-containerd:{ID}"),
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("12:pids:/docker/{ID}"),
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
            format!("0::/../../kubepods-pod1f2e.slice/cri-containerd-{ID}.scope/init.scope"),
        ] {
            let text = format!("13:misc:/\n{path}\n");
            assert!(names_container(&text, ID), "{path}");
        }
    }

    #[test]
    fn others_do_not_match() {
        for path in [
            "0::/".to_owned(),
            String::new(),
            format!("0::/kubepods.slice/crio-conmon-{ID}.scope"),
            format!("0::/kubepods.slice/cri-containerd-{ID}0.scope"),
            format!("0::/x/{}", &ID[..20]),
            ID.to_owned(),
        ] {
            assert!(!names_container(&path, ID), "{path}");
        }
    }
}
