"""Settings of the local stack: where a wrong value stands is said, whatever way it came."""

from pathlib import Path

import pytest

from infra.local.errors import SettingsError
from infra.local.prediction import NAMES
from infra.local.programs import programs
from infra.local.settings import ROOT, SERVICES, LocalSettings
from infra.local.sources import load
from infra.local.state import StateDirectory


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in LocalSettings.model_fields:
        monkeypatch.delenv(f"HOLDFAST_{key.upper()}", raising=False)


def written(directory: Path, text: str) -> Path:
    file = directory / "holdfast.toml"
    file.write_text(text)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file)
    return str(caught.value)


def test_without_a_file_the_ports_are_the_documented_ones(tmp_path: Path) -> None:
    settings = load(tmp_path / "none.toml")
    assert [settings.service_port(service) for service in SERVICES] == [8080, 8081, 8082, 8083]
    assert [settings.replica_port(service, 1) for service in SERVICES] == [8101, 8111, 8121, 8131]
    assert settings.bind == "127.0.0.1"


def test_a_bad_value_in_the_file_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, "# mine\nbind = '127.0.0.1'\n\nreplicas_payment = 'two'\n")
    assert refusal(file).startswith("holdfast.toml:4: replicas_payment: ")
    assert "'two'" in refusal(file)


def test_every_bad_value_is_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, "port = 0\nlog_level = 'loud'\n")
    lines = refusal(file).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["holdfast.toml:2", "holdfast.toml:1"]


def test_an_unknown_key_is_named_with_line_and_the_nearest_setting(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "\nreplica_paymnt = 2\n")).startswith("holdfast.toml:2: replica_paymnt: no such")
    assert "did you mean replicas_payment?" in refusal(written(tmp_path, "replicas_paymnt = 2\n"))


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "port = 8080\nbind = \n")).startswith("holdfast.toml:2: not valid TOML")


def test_a_bad_value_in_the_environment_is_named_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "high")
    assert refusal(tmp_path / "none.toml").startswith("HOLDFAST_PORT: ")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_REPLICAS_PAYMENT_V2", "2")
    file = written(tmp_path, "replicas_payment_v2 = 0\nreplicas_payment = 3\n")
    settings = load(file)
    assert (settings.replicas_payment_v2, settings.replicas_payment) == (2, 3)


def test_an_empty_variable_leaves_the_file_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "")
    assert load(written(tmp_path, "port = 9080\n")).port == 9080


def test_a_misspelt_variable_is_refused_with_the_right_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"HOLDFAST_REPLICAS_PAYMNET: .*HOLDFAST_REPLICAS_PAYMENT"):
        load(tmp_path / "none.toml", {"HOLDFAST_REPLICAS_PAYMNET": "2"})


def test_variables_of_other_tools_with_the_prefix_are_no_business_of_the_stack(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", {"HOLDFAST_CRDS": "/x", "HOLDFAST_STACK": "/y"}).port == 8080


def test_more_replicas_than_slots_are_refused_at_the_line_of_the_replicas(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "slots_order = 2\nreplicas_order = 3\n"))
    assert message == "holdfast.toml:2: replicas_order: 3 replicas do not fit into 2 slots; raise slots_order"


def test_two_settings_on_one_port_are_refused_and_both_named(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "port_payment = 8080\n"))
    assert message == "holdfast.toml:1: port_payment: port 8080 is already that of port"


def test_a_service_port_inside_a_range_of_replicas_is_refused(tmp_path: Path) -> None:
    assert "8113 is already that of" in refusal(written(tmp_path, "port_inventory = 8113\n"))


@pytest.mark.parametrize(
    "value", ["mysql://localhost/{service}", "postgresql://localhost/all", "no url at all", "postgresql+psycopg://h/x"]
)
def test_a_database_that_cannot_work_is_refused(tmp_path: Path, value: str) -> None:
    assert refusal(written(tmp_path, f"database = '{value}'\n")).startswith("holdfast.toml:1: database: ")


def test_an_outside_database_has_one_database_a_service() -> None:
    settings = LocalSettings(database="postgresql://holdfast:s3cret@db.internal:6543/shop_{service}")
    url = settings.external_database("payment")
    assert url is not None
    assert url.render_as_string(hide_password=False) == (
        "postgresql+asyncpg://holdfast:s3cret@db.internal:6543/shop_payment"
    )


def test_the_predictor_runs_where_there_is_a_model_and_a_prometheus_unless_told_otherwise(tmp_path: Path) -> None:
    model = {"model_dir": str(tmp_path)}
    assert not LocalSettings(**model).predicts
    for name in ("model.onnx", "manifest.json", "manifest.sig"):
        (tmp_path / name).touch()
    assert LocalSettings(**model).predicts
    assert LocalSettings(**model).remediates
    assert not LocalSettings(**model, prometheus="off").predicts
    assert LocalSettings(**model, prometheus="off", prometheus_url="http://elsewhere:9090").predicts
    assert not LocalSettings(**model, prediction="off").remediates
    assert LocalSettings(model_dir=str(tmp_path / "none"), prediction="on", remediation="off").predicts


def test_the_predictors_port_is_one_of_the_stacks_where_it_runs() -> None:
    chosen = LocalSettings(prediction="on", remediation="approve")
    assert {("port_predictor", 8095), ("port_remediation", 8096)} <= set(chosen.ports())
    assert "port_remediation" not in dict(LocalSettings(prediction="on", remediation="off").ports())
    assert "port_predictor" not in dict(LocalSettings(prediction="off").ports())


def test_what_predicts_and_acts_is_told_where_this_stack_is(tmp_path: Path) -> None:
    chosen = LocalSettings(
        prediction="on", remediation="approve", state_dir=tmp_path, service_memory_mb=256, minute_seconds=2,
        trusted_keys="/keys:mine", model_dir="/model",
    )  # fmt: skip
    found = {each.name: each for each in programs(chosen, StateDirectory(tmp_path)) if each.name in NAMES}
    told = found["predictor"].environment
    assert (told["MEMORY_BYTES"], told["MINUTE_SECONDS"], told["MODEL_DIR"]) == (str(256 * 2**20), "2.0", "/model")
    assert told["TRUSTED_KEYS"] == f"/keys:{ROOT / 'mine'}"
    words = found["remediation"].command
    assert words[words.index("--mode") + 1] == "approve"
    assert words[words.index("--token-file") + 1] == str(tmp_path / "secrets" / "operator" / "admin_token")
    assert all(each.optional for each in found.values())


def test_the_commented_example_holds_every_setting_with_its_default(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "holdfast.example.toml"
    lines = [
        line.removeprefix("# ") for line in example.read_text().splitlines() if line.startswith("# ") and " = " in line
    ]
    settings = load(written(tmp_path, "\n".join(lines)))
    assert {line.split(" = ")[0] for line in lines} == set(LocalSettings.model_fields)
    assert settings == load(tmp_path / "none.toml")
