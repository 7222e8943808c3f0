"""Kubernetes: an Indexed Job whose pods are worker slots, with the study's file, and the dashboard.

Of secrets only the names are written. Needs Kubernetes 1.29, from which on a Job counts failures for each slot.
"""

import hashlib
import re
from dataclasses import dataclass

from hpo import __version__
from hpo.cluster.manifest import Body, Manifest, as_yaml
from hpo.cluster.pod import at, can_do_little, folder, labels, secret, template
from hpo.cluster.slots import MISTAKES, Slots, slot_options
from hpo.definition import files_of
from hpo.errors import OptionError
from hpo.run import UNFINISHED

MAX_FAILURES = 6  # of a slot, for all other reasons; Kubernetes waits longer before each new pod
MAX_NAME = 40  # a pod's name has 63 characters at most, and a Job's adds some to its own
MAX_FILES_BYTES = 250_000  # kubectl apply writes down what it was given, and an object takes 262,144 bytes of that
DATABASE_PASSWORD, WEB_PASSWORD = "/secrets/database", "/secrets/web"
PORT = 8080


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is asked of Kubernetes beside the slots.

    Attributes:
        image: Has hpo in it: the project's Dockerfile makes one.
        database_secret: The Secret whose key "password" is the database's.
        web_secret: The one whose key "password" is the dashboard's.
        runs_claim: A volume claim that all nodes can write, for checkpoints and models; None for none.
        data_claim: The same for data.
        pull_secret: For a registry that asks for a password.
    """

    image: str
    database_secret: str
    web_secret: str
    runs_claim: str | None
    data_claim: str | None
    pull_secret: str | None


@dataclass(frozen=True)
class MountedFile:
    """A file of a study's: its key in a ConfigMap, its path below the studies folder, its text."""

    key: str
    path: str
    text: str


def write_manifests(slots: Slots, deployment: Deployment) -> str:
    """Return the objects as YAML: study file, workers, dashboard and its address within the cluster.

    Raises:
        OptionError: The study's files are too large for a ConfigMap.
    """
    name, files = name_of(slots.file.name), read_files(slots)
    storage = slots.address.with_password_file(f"{DATABASE_PASSWORD}/password")
    data = {one.key: one.text for one in files}
    head = _head(slots, deployment)
    return as_yaml(
        head,
        [
            Manifest(
                comment=f"The study's file, and what it imports from beside it: to be found in {slots.studies_dir}.",
                body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named(name, "worker"), "data": data},
            ),
            Manifest(comment=_about_job(deployment), body=_job(name, slots, deployment, storage, files)),
            Manifest(
                comment=f"Studies, reports and /metrics: kubectl port-forward service/{name}-dashboard {PORT}",
                body=_dashboard(name, deployment, storage),
            ),
            Manifest(comment="The dashboard's address within the cluster.", body=_service(name)),
        ],
    )


def name_of(study: str) -> str:
    """Return a name for a study's objects: such as Kubernetes takes, and another for each study."""
    plain = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")
    if plain == study.replace("_", "-") and len(plain) <= MAX_NAME and "-" not in study:
        return f"hpo-{plain}"
    digest = hashlib.sha256(study.encode()).hexdigest()[:8]
    return "-".join(part for part in ("hpo", plain[: MAX_NAME - 9].strip("-"), digest) if part)


def read_files(slots: Slots) -> list[MountedFile]:
    """Return a study's file and those beside it that it imports.

    Raises:
        OptionError: They are too large.
    """
    found = []
    for path in files_of(slots.file.path):
        inner = path.relative_to(slots.file.path.parent).as_posix()
        found.append(MountedFile(re.sub(r"[^\w.-]", "-", inner, flags=re.ASCII), inner, path.read_text()))
    n_bytes = sum(len(one.text.encode()) for one in found)
    if n_bytes > MAX_FILES_BYTES:
        raise OptionError(
            f"The study's files have {n_bytes:,} bytes, and kubectl apply takes {MAX_FILES_BYTES:,}.",
            "Put what is large into the image, as a package that the study's file imports.",
        )
    return found


def _head(slots: Slots, deployment: Deployment) -> str:
    return f"""\
{slots.title}, by hpo {__version__}. Passwords are not in this file:

  kubectl create secret generic {deployment.database_secret} --from-file=password=FILE    (the database's)
  hpo password web.password
  kubectl create secret generic {deployment.web_secret} --from-file=password=web.password
  kubectl apply -f THIS_FILE
  kubectl get job,pod -l app.kubernetes.io/name=hpo

Applied again with another number as completions and parallelism, it has more or fewer slots.
"""


def _about_job(deployment: Deployment) -> str:
    mistakes = ", ".join(map(str, MISTAKES))
    told = f"""\
Exit code 0 ends a slot: the study has ended, or is paused. After {UNFINISHED}, or when a pod is evicted, drained or
preempted, the slot is filled again, as often as it takes. {mistakes} are mistakes, which end the Job.
"""
    if deployment.runs_claim is None:
        told += """\
/runs is each pod's own: checkpoints and models that the database does not keep (--max-carried) go with
their pods. --runs-claim NAME, of a volume that all nodes can write (ReadWriteMany), keeps them.
"""
    return told


def _named(name: str, part: str) -> Body:
    return {"name": name if part == "worker" else f"{name}-{part}", "labels": labels(name, part)}


def _job(name: str, slots: Slots, deployment: Deployment, storage: str, files: list[MountedFile]) -> Body:
    items = [{"key": one.key, "path": one.path} for one in files]
    volumes = [
        {"name": "studies", "configMap": {"name": name, "items": items}},
        folder("runs", deployment.runs_claim),
        folder("data", deployment.data_claim),
        folder("cache"),
        folder("tmp"),
        secret("database", deployment.database_secret),
    ]
    memory = f"{slots.memory_mib}Mi"
    container = {
        "name": "worker",
        "image": deployment.image,
        "command": ["hpo", "run", *slot_options(slots)],
        "env": [{"name": "HPO_STORAGE", "value": storage}, {"name": "HPO_CACHE_DIR", "value": "/cache"}],
        # No limit of CPU: threads bound it already, and it would only slow them down.
        "resources": {"requests": {"cpu": str(slots.n_threads), "memory": memory}, "limits": {"memory": memory}},
        "securityContext": can_do_little(),
        "volumeMounts": [
            at("studies", str(slots.studies_dir), is_read_only=True),
            *(at(one, f"/{one}") for one in ("runs", "data", "cache", "tmp")),
            at("database", DATABASE_PASSWORD, is_read_only=True),
        ],
    }
    rules: list[Body] = [
        {"action": action, "onExitCodes": {"containerName": "worker", "operator": "In", "values": codes}}
        for action, codes in (("Ignore", [UNFINISHED]), ("FailJob", list(MISTAKES)))
    ]
    rules.append({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
    pod = template(labels(name, "worker"), container, volumes, deployment.pull_secret)
    pod["spec"]["restartPolicy"] = "Never"  # the rules above decide, not the node
    spec = {
        "completionMode": "Indexed",
        "completions": slots.n_workers,
        "parallelism": slots.n_workers,
        "backoffLimitPerIndex": MAX_FAILURES,
        "podFailurePolicy": {"rules": rules},
        "template": pod,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _named(name, "worker"), "spec": spec}


def _dashboard(name: str, deployment: Deployment, storage: str) -> Body:
    health = {"path": "/health", "port": "http", "httpHeaders": [{"name": "Host", "value": "localhost"}]}
    container = {
        "name": "dashboard",
        "image": deployment.image,
        "command": ["hpo", "dashboard", "--host", "0.0.0.0", "--port", str(PORT)],
        "env": [
            {"name": "HPO_STORAGE", "value": storage},
            {"name": "HPO_WEB_PASSWORD_FILE", "value": f"{WEB_PASSWORD}/password"},
            {"name": "HPO_ALLOWED_HOST", "value": f"{name}-dashboard"},
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": health, "periodSeconds": 10, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "securityContext": can_do_little(),
        "volumeMounts": [
            at("tmp", "/tmp"),
            at("database", DATABASE_PASSWORD, is_read_only=True),
            at("web", WEB_PASSWORD, is_read_only=True),
        ],
    }
    volumes = [
        folder("tmp"),
        secret("database", deployment.database_secret),
        secret("web", deployment.web_secret),
    ]
    found = labels(name, "dashboard")
    pod = template(found, container, volumes, deployment.pull_secret)
    spec = {"replicas": 1, "selector": {"matchLabels": found}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _named(name, "dashboard"), "spec": spec}


def _service(name: str) -> Body:
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    spec = {"selector": labels(name, "dashboard"), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _named(name, "dashboard"), "spec": spec}
