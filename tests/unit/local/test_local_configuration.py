"""What is generated for the supervisor and the broker, read back as their own parsers read it."""

import configparser
import json
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor.datatypes import dict_of_key_value_pairs
from supervisor.options import ServerOptions

from infra.local import nats, secrets, supervisor
from infra.local.errors import StackError
from infra.local.programs import Program, base_environment, others_at_start, programs
from infra.local.settings import LocalSettings
from infra.local.state import LONGEST_SOCKET_PATH, MARKER, StateDirectory


@pytest.fixture(autouse=True)
def _short_directories_go_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as made:
        monkeypatch.setenv("XDG_RUNTIME_DIR", made)
        yield


def state_in(directory: Path) -> StateDirectory:
    state = StateDirectory(directory / ".local")
    state.create()
    secrets.ensure(state)
    return state


def rendered(state: StateDirectory, settings: LocalSettings) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(supervisor.render(settings, state, programs(settings, state)))
    return parser


def environment(parser: configparser.RawConfigParser, program: str) -> dict[str, str]:
    return dict(dict_of_key_value_pairs(parser[f"program:{program}"]["environment"].replace("%%", "%")))


def test_every_slot_is_a_program_and_only_infrastructure_starts_by_itself(tmp_path: Path) -> None:
    parser = rendered(state_in(tmp_path), LocalSettings(slots_payment=3))
    names = [name.removeprefix("program:") for name in parser.sections() if name.startswith("program:")]
    assert [name for name in names if name.startswith("payment-")] == [
        "payment-1", "payment-2", "payment-3", "payment-v2-1", "payment-v2-2",
    ]  # fmt: skip
    assert [name for name in names if parser[f"program:{name}"]["autostart"] == "true"] == [
        "nats", "control-room-1", "control-room-page", "envoy",
    ]  # fmt: skip


def test_up_starts_as_many_replicas_as_the_settings_say(tmp_path: Path) -> None:
    settings = LocalSettings(replicas_payment=2, replicas_payment_v2=0)
    started = others_at_start(settings, programs(settings, StateDirectory(tmp_path)))
    assert [program.name for program in started] == [
        "control-room-1", "control-room-page", "envoy", "order-1", "payment-1", "payment-2", "inventory-1",
    ]  # fmt: skip


def test_no_secret_stands_in_the_supervisors_configuration(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    settings = LocalSettings(database="postgresql://holdfast:s3cret-word@db/{service}")
    text = supervisor.render(settings, state, programs(settings, state))
    values = [path.read_text() for path in state.secrets.rglob("*") if path.is_file()]
    assert values
    assert not [value for value in [*values, "s3cret-word"] if value in text]
    assert text.count("DATABASE_URL=") == 2
    assert text.count("/control_room.sqlite") == text.count("/control_room_page.sqlite") == 1


def test_both_payment_versions_share_database_and_secrets_and_differ_in_version(tmp_path: Path) -> None:
    parser = rendered(state_in(tmp_path), LocalSettings())
    first, second = environment(parser, "payment-1"), environment(parser, "payment-v2-1")
    assert (first["API_VERSION"], second["API_VERSION"]) == ("v1", "v2")
    assert (first["DATABASE_URL"], first["SECRETS_DIR"]) == (second["DATABASE_URL"], second["SECRETS_DIR"])
    assert (second["INSTANCE"], second["PORT"], second["SERVICE_PORT"]) == ("payment-v2-1", "8121", "0")


def test_without_a_mesh_the_replicas_share_the_services_port_and_there_is_no_envoy(tmp_path: Path) -> None:
    parser = rendered(state_in(tmp_path), LocalSettings(mesh="off"))
    assert environment(parser, "payment-v2-1")["SERVICE_PORT"] == "8082"
    assert environment(parser, "order-1")["PAYMENT_URL"] == "http://localhost:8081"
    assert "program:envoy" not in parser


def test_without_a_binary_the_stack_is_as_without_a_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.envoy.available", lambda: False)
    parser = rendered(state_in(tmp_path), LocalSettings(mesh="envoy"))
    assert environment(parser, "payment-1")["SERVICE_PORT"] == "8081"
    assert "program:envoy" not in parser


def test_the_sampler_reaches_every_sender_of_traces_and_the_share_the_control_room(tmp_path: Path) -> None:
    settings = LocalSettings(
        otel_traces_sampler="parentbased_traceidratio", otel_traces_sampler_arg=0.25, trace_share=1, prometheus="off"
    )
    parser = rendered(state_in(tmp_path), settings)
    for program in ("order-1", "payment-1", "payment-v2-1", "inventory-1"):
        given = environment(parser, program)
        assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:8090"
        assert (given["OTEL_TRACES_SAMPLER"], given["OTEL_TRACES_SAMPLER_ARG"]) == ("parentbased_traceidratio", "0.25")
    assert environment(parser, "control-room-1")["TRACE_SHARE"] == "1.0"
    without = rendered(state_in(tmp_path), LocalSettings(traces="off", prometheus="off"))
    assert not [name for name in environment(without, "order-1") if name.startswith("OTEL_")]


def test_values_with_commas_spaces_and_percent_signs_reach_the_program_unchanged(tmp_path: Path) -> None:
    odd = tmp_path / "with space, 100% 'fun'"
    odd.mkdir()
    state = state_in(odd)
    parser = rendered(state, LocalSettings())
    assert environment(parser, "order-1")["SECRETS_DIR"] == str(state.secrets / "order")
    command = shlex.split(parser["program:nats"]["command"].replace("%%", "%"))
    assert command[-1] == str(state.run / "nats.conf")


def test_the_real_supervisor_accepts_the_configuration_of_an_odd_path(tmp_path: Path) -> None:
    odd = tmp_path / "50% off (really)"
    odd.mkdir()
    state, settings = state_in(odd), LocalSettings()
    path = supervisor.write_configuration(settings, state, programs(settings, state))
    assert path.stat().st_mode & 0o777 == 0o600
    options = ServerOptions()
    options.realize(["-c", str(path)])
    found = {config.name: config for group in options.process_group_configs for config in group.process_configs}
    assert found["order-1"].environment["SECRETS_DIR"] == str(state.secrets / "order")
    assert found["order-1"].stopwaitsecs == 12
    assert found["order-1"].startretries == 0
    assert found["order-1"].stdout_logfile == str(state.logs / "order-1.log")


def test_a_value_that_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    program = Program("x", ("true",), 1, {"A": "both ' and \""})
    with pytest.raises(StackError, match="quotes"):
        supervisor.render(LocalSettings(), StateDirectory(tmp_path), [program])


def test_programs_inherit_nothing_of_the_shell_that_could_change_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///elsewhere")
    monkeypatch.setenv("PORT", "1")
    inherited = base_environment(StateDirectory(tmp_path))
    assert {"DATABASE_URL", "PORT"}.isdisjoint(inherited)
    assert inherited[MARKER] == str(tmp_path)


def test_a_deep_state_directory_gets_a_short_private_socket_that_goes_away_with_the_stack(tmp_path: Path) -> None:
    deep = StateDirectory(tmp_path / ("d" * 120))
    deep.create()
    socket = deep.socket()
    assert len(str(socket)) <= LONGEST_SOCKET_PATH
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    deep.remove_socket()
    assert not socket.parent.exists()


def test_a_short_socket_directory_is_found_again_from_another_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = StateDirectory(tmp_path / ("f" * 120))
    deep.create()
    socket = deep.socket()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/")
    assert deep.socket() == socket
    deep.remove_socket()


def test_a_short_socket_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    deep = StateDirectory(tmp_path / ("e" * 120))
    deep.create()
    directory = deep.socket().parent
    directory.chmod(0o755)
    with pytest.raises(StackError, match="open to others"):
        deep.socket()
    directory.rmdir()


def test_the_broker_listens_on_loopback_with_bounded_storage_whatever_bind_says(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    path = nats.write_configuration(LocalSettings(bind="0.0.0.0", nats_file_mb=7), state)
    written = json.loads(path.read_text())
    assert (written["listen"], written["http"]) == ("127.0.0.1:4222", "127.0.0.1:8222")
    assert written["jetstream"]["max_file_store"] == 7 * 1024 * 1024
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_directory_with_somebody_elses_data_is_never_adopted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(StackError, match="not made by a stack"):
        StateDirectory(tmp_path).create()
