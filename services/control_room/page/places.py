"""Where the page runs, and the command by which one does there what the page itself cannot do."""

from typing import Literal, NamedTuple

Where = Literal["local", "compose", "kubernetes"]


class Place(NamedTuple):
    """A command for each part that may be missing, and how to come by what logs in."""

    predictor: str
    remediation: str
    experiments: str
    audit: str
    faults: str
    login: str


_MANIFESTS = "kubectl apply --server-side -k infra/kubernetes/overlays/production"

PLACES: dict[Where, Place] = {
    "local": Place(
        predictor="make predictor",
        remediation="make remediate",
        experiments="make chaos SCENARIO=payment-down",
        audit="make audit",
        faults="make restart FAULT_INJECTION=on",
        login="make room prints a link that logs you in; or paste the token: cat .local/secrets/operator/admin_token",
    ),
    "compose": Place(
        predictor="make up STACK=compose, with a model in ml/models",
        remediation="make up STACK=compose REMEDIATION=shadow, with a model in ml/models",
        experiments="make chaos SCENARIO=payment-down CHAOS_TARGET=compose",
        audit="make audit",
        faults="FAULT_INJECTION in docker-compose.yml",
        login="make room prints a link that logs you in; or paste the token: "
        "cat .local/compose/secrets/operator/admin_token",
    ),
    "kubernetes": Place(
        predictor=f"{_MANIFESTS}, and its model: infra/kubernetes/components/prediction",
        remediation=f"{_MANIFESTS}: infra/kubernetes/components/prediction",
        experiments="kubectl create -f chaos/mesh/experiments/payment-down.yaml",
        audit="python -m infra.audit, with ORDER_DATABASE_URL and the others leading to the databases",
        faults="kubectl create -f chaos/mesh/experiments/payment-down.yaml",
        login="kubectl -n holdfast get secret operator -o go-template='{{.data.admin_token | base64decode}}'",
    ),
}
