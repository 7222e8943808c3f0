"""What all pods of hpo's have: a user without rights, a read-only file system, volumes, names of secrets."""

from hpo.cluster.manifest import Body

USER = 10001  # the image's; it owns nothing


def labels(name: str, part: str) -> dict[str, str]:
    """Return the labels by which the pods of a part are found."""
    return {
        "app.kubernetes.io/name": "hpo",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": part,
    }


def template(labelled: dict[str, str], container: Body, volumes: list[Body], pull_secret: str | None) -> Body:
    """Return the template of pods with one container."""
    pull = {} if pull_secret is None else {"imagePullSecrets": [{"name": pull_secret}]}
    spec = {
        "automountServiceAccountToken": False,
        "shareProcessNamespace": True,  # else hpo is process 1, which a signal does not end before it listens
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **pull,
        "containers": [container],
        "volumes": volumes,
    }
    return {"metadata": {"labels": labelled}, "spec": spec}


def can_do_little() -> Body:
    """Return the security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def folder(name: str, claim: str | None = None) -> Body:
    """Return a volume: of the pod's own, or a claim's."""
    return {"name": name, "emptyDir": {}} if claim is None else {"name": name, **_claimed(claim)}


def secret(name: str, secret_name: str) -> Body:
    """Return a volume with a Secret's values as files, for the pod's user alone."""
    return {"name": name, "secret": {"secretName": secret_name, "defaultMode": 0o440}}


def at(name: str, path: str, *, is_read_only: bool = False) -> Body:
    """Return where a container finds a volume."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if is_read_only else {})}


def _claimed(claim: str) -> Body:
    return {"persistentVolumeClaim": {"claimName": claim}}
