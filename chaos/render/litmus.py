"""The same for Litmus: ChaosExperiments, engines for some experiments, and an Argo Workflow that runs them all.

They live in a namespace of their own: the helper pods that reach into a container's network are privileged, and the
platform's namespace refuses such pods. What they may do to the platform is in chaos/litmus/access.yaml.
"""

from collections.abc import Mapping
from typing import Any

from chaos.definition import Definition
from chaos.render import cluster
from chaos.render.fault import Fault
from chaos.render.gates import Check, limits
from chaos.render.writing import Block, as_yaml

NAMESPACE = "holdfast-chaos"
LITMUS = "3.31.0"
IMAGE = f"litmuschaos/go-runner:{LITMUS}"
API = "litmuschaos.io/v1alpha1"
RUN_LABEL = "holdfast.dev/run"

_RUNTIME = {
    "CONTAINER_RUNTIME": "containerd",
    "SOCKET_PATH": "/run/containerd/containerd.sock",
    "LIB_IMAGE": IMAGE,
    "DEFAULT_HEALTH_CHECK": "false",
    "SEQUENCE": "parallel",
    "PODS_AFFECTED_PERC": "100",
    "TARGET_CONTAINER": cluster.CONTAINER,
}
_DELETES = {"FORCE": "true", "CHAOS_INTERVAL": "5", "DEFAULT_HEALTH_CHECK": "false", "PODS_AFFECTED_PERC": "0"}

EXPERIMENTS: Mapping[str, Mapping[str, str]] = {
    "pod-delete": _DELETES,
    "pod-network-latency": {**_RUNTIME, "NETWORK_INTERFACE": "eth0", "NETWORK_LATENCY": "2000", "JITTER": "0"},
    "pod-cpu-hog": {**_RUNTIME, "CPU_CORES": "1", "CPU_LOAD": "80"},
    "pod-memory-hog": {**_RUNTIME, "MEMORY_CONSUMPTION": "64", "NUMBER_OF_WORKERS": "1"},
}
"""Litmus' own experiments that are used, with what they start from; an engine says the rest."""

Document = dict[str, Any]


def family_of(fault: Fault) -> tuple[str, str, dict[str, str]]:
    """Which of Litmus' experiments does the same as a fault, to which service, and with what settings."""
    spec = fault.spec
    service = str(spec["selector"]["labelSelectors"]["app"])
    if spec.get("action") == "pod-kill":
        return "pod-delete", service, {"CHAOS_INTERVAL": f"{fault.every_seconds:g}"}
    if spec.get("action") == "delay":
        delay = spec["delay"]
        latency, jitter = delay["latency"], delay.get("jitter", "0ms")
        return (
            "pod-network-latency",
            service,
            {"NETWORK_LATENCY": latency.removesuffix("ms"), "JITTER": jitter.removesuffix("ms")},
        )
    stressors = spec["stressors"]
    if "cpu" in stressors:
        return "pod-cpu-hog", service, {"CPU_LOAD": str(stressors["cpu"]["load"])}
    return "pod-memory-hog", service, {"MEMORY_CONSUMPTION": stressors["memory"]["size"].removesuffix("MB")}


def chaos_experiment(name: str) -> Document:
    """One of Litmus' own experiments, pinned to a version."""
    labels = {"name": name, "app.kubernetes.io/component": "experiment-job", **cluster.PART_OF}
    return {
        "apiVersion": API,
        "kind": "ChaosExperiment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(cluster.PART_OF)},
        "spec": {
            "definition": {
                "scope": "Namespaced",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/bash"],
                "args": ["-c", f"./experiments -name {name}"],
                "env": [*_env(EXPERIMENTS[name]), {"name": "TOTAL_CHAOS_DURATION", "value": "15"}],
                "labels": labels,
            }
        },
    }


def engine(name: str, family: str, service: str, env: Mapping[str, str], definition: Definition) -> Document:
    """An experiment of ours as an engine: steady state before and after, and the same limits as elsewhere meanwhile."""
    checks = limits(definition)
    probes = [_probe(check, "SOT", _steady(check)) for check in checks]
    probes += [_probe(check, "Continuous", check) for check in checks]
    lasts = {"TOTAL_CHAOS_DURATION": f"{definition.fault_seconds:g}"}
    return {
        "apiVersion": API,
        "kind": "ChaosEngine",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {**cluster.PART_OF, RUN_LABEL: "by-hand"}},
        "spec": {
            "engineState": "active",
            "jobCleanUpPolicy": "delete",
            "defaultHealthCheck": False,
            "appinfo": {"appns": cluster.NAMESPACE, "applabel": f"app={service}", "appkind": "deployment"},
            "chaosServiceAccount": "litmus",
            "experiments": [
                {"name": family, "spec": {"probe": probes, "components": {"env": _env({**lasts, **env})}}},
            ],
        },
    }


def workflow(engines: Mapping[str, Document]) -> Document:
    """Installs Litmus' experiments, runs each engine, reads its result, and takes everything back in any case."""
    families = sorted({each["spec"]["experiments"][0]["name"] for each in engines.values()})
    steps: list[Any] = [[{"name": f"install-{family}", "template": f"install-{family}"} for family in families]]
    templates = [_resource(f"install-{family}", "apply", chaos_experiment(family), seconds=60) for family in families]
    for name, each in engines.items():
        steps += [
            [{"name": name, "template": f"run-{name}"}],
            [{"name": f"{name}-verdict", "template": "verdict", "arguments": _result_of(name, each)}],
        ]
        templates.append(_run(name, each))
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "resilience-", "namespace": NAMESPACE, "labels": dict(cluster.PART_OF)},
        "spec": {
            "entrypoint": "resilience",
            "onExit": "revert",
            "serviceAccountName": "chaos-steps",
            "activeDeadlineSeconds": 3600,
            "ttlStrategy": {"secondsAfterCompletion": 604800},
            "podGC": {"strategy": "OnWorkflowSuccess"},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "templates": [{"name": "resilience", "steps": steps}, *templates, _verdict(), *_revert(families)],
        },
    }


def _run(name: str, each: Document) -> Document:
    named = {**each, "metadata": {**each["metadata"], "labels": {**cluster.PART_OF, RUN_LABEL: "{{workflow.uid}}"}}}
    made = _resource(f"run-{name}", "create", named, seconds=600)
    made["resource"]["successCondition"] = "status.engineStatus == completed"
    made["resource"]["failureCondition"] = "status.engineStatus == stopped"
    return made


def _verdict() -> Document:
    result = {
        "apiVersion": API,
        "kind": "ChaosResult",
        "metadata": {"name": "{{inputs.parameters.result}}", "namespace": NAMESPACE},
    }
    made = _resource("verdict", "get", result, seconds=60)
    made["inputs"] = {"parameters": [{"name": "result"}]}
    made["resource"]["successCondition"] = "status.experimentStatus.verdict == Pass"
    made["resource"]["failureCondition"] = "status.experimentStatus.verdict in (Fail, Stopped, Error)"
    return made


def _revert(families: list[str]) -> list[Document]:
    """Deleting an engine ends its experiment, and an experiment that is ended takes its fault back."""
    kinds = {"delete-engines": ["chaosengines", "-l", f"{RUN_LABEL}={{{{workflow.uid}}}}"]}
    kinds["delete-experiments"] = [f"chaosexperiments/{family}" for family in families]
    steps = [[{"name": name, "template": name}] for name in kinds]
    return [
        {"name": "revert", "steps": steps},
        *(
            {
                "name": name,
                "activeDeadlineSeconds": 180,
                "retryStrategy": {"limit": 3, "retryPolicy": "Always"},
                "resource": {"action": "delete", "flags": [*what, "-n", NAMESPACE, "--ignore-not-found"]},
            }
            for name, what in kinds.items()
        ),
    ]


def _resource(name: str, action: str, manifest: Document, *, seconds: int) -> Document:
    text = Block(as_yaml(manifest))
    return {"name": name, "activeDeadlineSeconds": seconds, "resource": {"action": action, "manifest": text}}


def _result_of(name: str, each: Document) -> Document:
    return {"parameters": [{"name": "result", "value": f"{name}-{each['spec']['experiments'][0]['name']}"}]}


def _steady(check: Check) -> Check:
    """To begin, nearly everybody is served, quickly."""
    return {**check, **({"at_least": 0.98} if "at_least" in check else {"at_most": 1.5})}


def _probe(check: Check, mode: str, bound: Check) -> Document:
    criteria = ">=" if "at_least" in check else "<="
    value = bound["at_least"] if "at_least" in check else bound["at_most"]
    return {
        "name": f"{check['reading'].replace('_', '-')}-{mode.lower()}",
        "type": "promProbe",
        "mode": mode,
        "promProbe/inputs": {
            "endpoint": cluster.PROMETHEUS,
            "query": check["promql"],
            "comparator": {"criteria": criteria, "value": f"{value:g}"},
        },
        # No answer, or no number, fails a probe as a bad one does.
        "runProperties": {
            "probeTimeout": "5s",
            "interval": "2s",
            "attempt": 2,
            "probePollingInterval": "2s",
            "stopOnFailure": True,
        },
    }


def _env(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
