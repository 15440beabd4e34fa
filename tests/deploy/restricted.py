"""Pod Security Standard "restricted", each control as the standard's text has it (1.29 to 1.33).

violations(metadata, spec) gives the names of the controls that a pod violates.
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
           "projected", "secret"}
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def get(value, *path):
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def containers(spec):
    return [container for field in ("initContainers", "containers", "ephemeralContainers")
            for container in spec.get(field) or []]


def contexts(spec):
    """The security contexts of the pod and of its containers."""
    return [get(each, "securityContext") or {} for each in [spec, *containers(spec)]]


def every_container(spec, holds):
    """Each container by itself, or by the pod where it does not say."""
    pod = get(spec, "securityContext") or {}
    return all(holds(get(each, "securityContext") or {}, pod) for each in containers(spec))


def host_process(metadata, spec):
    return not any(get(context, "windowsOptions", "hostProcess") for context in contexts(spec))


def host_namespaces(metadata, spec):
    return not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))


def privileged(metadata, spec):
    return not any(context.get("privileged") for context in contexts(spec))


def capabilities(metadata, spec):
    return every_container(spec, lambda own, pod: "ALL" in (get(own, "capabilities", "drop") or []) and
                           set(get(own, "capabilities", "add") or []) <= {"NET_BIND_SERVICE"})


def host_path(metadata, spec):
    return not any("hostPath" in volume for volume in spec.get("volumes") or [])


def host_ports(metadata, spec):
    return not any(port.get("hostPort") for each in containers(spec) for port in each.get("ports") or [])


def app_armor(metadata, spec):
    by_field = all(get(context, "appArmorProfile", "type") in (None, "RuntimeDefault", "Localhost")
                   for context in contexts(spec))
    return by_field and all(
        value in ("", "runtime/default") or value.startswith("localhost/")
        for key, value in (get(metadata, "annotations") or {}).items()
        if key.startswith(APPARMOR_ANNOTATION))


def selinux(metadata, spec):
    options = [get(context, "seLinuxOptions") or {} for context in contexts(spec)]
    return all(each.get("type") in SELINUX_TYPES and not each.get("user") and not each.get("role")
               for each in options)


def proc_mount(metadata, spec):
    return all(context.get("procMount") in (None, "Default") for context in contexts(spec))


def sysctls(metadata, spec):
    return {each["name"] for each in get(spec, "securityContext", "sysctls") or []} <= SYSCTLS


def volume_types(metadata, spec):
    return all(set(volume) - {"name"} <= VOLUMES for volume in spec.get("volumes") or [])


def privilege_escalation(metadata, spec):
    return every_container(spec, lambda own, pod: own.get("allowPrivilegeEscalation") is False)


def non_root(metadata, spec):
    return every_container(
        spec, lambda own, pod: own.get("runAsNonRoot", pod.get("runAsNonRoot")) is True)


def non_root_user(metadata, spec):
    return all(context.get("runAsUser") != 0 for context in contexts(spec))


def seccomp(metadata, spec):
    allowed = ("RuntimeDefault", "Localhost")
    pod_ok = get(spec, "securityContext", "seccompProfile", "type") in (None, *allowed)
    return pod_ok and every_container(
        spec, lambda own, pod: get(own, "seccompProfile", "type") in allowed or
        "seccompProfile" not in own and get(pod, "seccompProfile", "type") in allowed)


CONTROLS = [host_process, host_namespaces, privileged, capabilities, host_path, host_ports, app_armor,
            selinux, proc_mount, sysctls, volume_types, privilege_escalation, non_root, non_root_user,
            seccomp]


def violations(metadata, spec):
    return [control.__name__ for control in CONTROLS if not control(metadata, spec)]
