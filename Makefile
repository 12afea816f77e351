# Targets are listed by `make help` from the text after `##`. Everything that runs TypeScript uses Node 24 from npm, which the
# first target installs; nothing else has to be on the machine but make, npm and (for real guests) root on Debian.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

MODULES := node_modules/.installed
RUN := PATH="$(CURDIR)/node_modules/.bin:$$PATH"

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(MODULES): package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $(MODULES)

.PHONY: modules
modules: $(MODULES) ## install the npm packages of the lock file

.PHONY: packages
packages: $(MODULES) ## install the Debian packages that guests and tests need
	$(RUN) node deploy/dev/main.ts packages

.PHONY: images
images: packages ## build the guest images base and probe (reproducible, cached)
	$(RUN) node deploy/guest/image/build.ts --image base
	$(RUN) node deploy/guest/image/build.ts --image probe

.PHONY: image-openclaw
image-openclaw: packages ## build the guest images of OpenClaw, the real gateway: openclaw, and openclaw-emulated for development
	$(RUN) node deploy/guest/image/build.ts --image openclaw
	$(RUN) node deploy/guest/image/build.ts --image openclaw-emulated

.PHONY: firecracker
firecracker: $(MODULES) ## install the locked release of Firecracker and its jailer (ARCHIVE=file.tgz without a network)
	$(RUN) node deploy/host/firecracker.ts $(if $(ARCHIVE),--archive "$(ARCHIVE)")

.PHONY: install
install: $(MODULES) ## install or upgrade this checkout on a host that systemd runs (DESTDIR=/dir for a package); guests stay
	$(RUN) node deploy/systemd/main.ts install --destdir "$(DESTDIR)"

.PHONY: uninstall
uninstall: $(MODULES) ## remove what `make install` installed; PURGE=1 removes state, keys and users too
	$(RUN) node deploy/systemd/main.ts uninstall --destdir "$(DESTDIR)" $(if $(PURGE),--purge)

.PHONY: demo
demo: images ## the main job: spawn a tenant in a real guest, use it, print trace and audit records
	$(RUN) node deploy/demo/main.ts

.PHONY: up
up: images ## start the development stack and write .run/env
	$(RUN) node deploy/dev/main.ts up

.PHONY: down
down: $(MODULES) ## stop the development stack and remove every trace of it
	$(RUN) node deploy/dev/main.ts down

.PHONY: status
status: $(MODULES) ## what runs
	$(RUN) node deploy/dev/main.ts status

.PHONY: client
client: $(MODULES) ## issue a client certificate of the development stack: NAME=..., ROLE=operator|viewer|owner (REISSUE=1)
	$(RUN) node deploy/dev/main.ts client "$(NAME)" --role "$(ROLE)" $(if $(REISSUE),--reissue)

.PHONY: revoke
revoke: $(MODULES) ## revoke every certificate of a client of the development stack: NAME=...
	$(RUN) node deploy/dev/main.ts revoke "$(NAME)"

.PHONY: rotate
rotate: $(MODULES) ## make every certificate of the development stack anew, without a failed call
	$(RUN) node deploy/dev/main.ts rotate

.PHONY: check-host
check-host: $(MODULES) ## judge this machine as a host for tenants: one row for each control (ARGS=--help)
	$(RUN) node deploy/check-host/main.ts $(ARGS)

.PHONY: generate
generate: $(MODULES) ## generate TypeScript from the protos
	$(RUN) buf format -w proto
	$(RUN) buf generate

.PHONY: format
format: $(MODULES) ## format code and protos
	$(RUN) biome check --write .
	$(RUN) buf format -w proto

.PHONY: lint
lint: $(MODULES) ## lint code and protos, and check that services stay apart
	$(RUN) biome check --error-on-warnings .
	$(RUN) buf lint
	$(RUN) node deploy/test/authority-imports.ts

.PHONY: typecheck
typecheck: $(MODULES) ## type-check everything
	$(RUN) tsc --noEmit

.PHONY: drift
drift: $(MODULES) ## check that generated code matches the protos, and that no proto breaks its callers
	$(RUN) node deploy/test/generated-drift.ts

.PHONY: observability
observability: $(MODULES) ## write the dashboards and alert rules of deploy/observability from the declared metrics
	$(RUN) node deploy/observability/main.ts

.PHONY: sbom
sbom: $(MODULES) ## write what is shipped as CycloneDX JSON to .run/sbom: the services, the guest images
	$(RUN) node deploy/sbom/main.ts

.PHONY: scan
scan: $(MODULES) ## search the whole history for credentials
	$(RUN) node deploy/scan/main.ts

.PHONY: unit
unit: $(MODULES) ## run the tests that need nothing
	$(RUN) node deploy/test/main.ts unit

.PHONY: check
check: lint typecheck drift scan unit ## what every commit passes

.PHONY: test-host
test-host: images ## run the tests that need a Linux host and root
	$(RUN) node deploy/test/main.ts host

.PHONY: test-e2e
test-e2e: images ## run the stories across services, with real guests
	$(RUN) node deploy/test/main.ts e2e

.PHONY: test
test: images ## run every test: unit, host, e2e
	$(RUN) node deploy/test/main.ts unit host e2e

.PHONY: test-nightly
test-nightly: images image-openclaw ## everything in `test`, and the slow tiers
	$(RUN) node deploy/test/main.ts unit host e2e nightly device

.PHONY: ablation
ablation: images ## switch each control off and show the test that turns red
	$(RUN) node deploy/test/main.ts ablation

.PHONY: bench
bench: images ## measure, side by side in one run
	$(RUN) node deploy/bench/main.ts

AUDIT_STATE := /var/lib/lobsterd/dev
LOG ?= $(AUDIT_STATE)/audit
KEY ?= $(AUDIT_STATE)/keys/audit-checkpoint.verifier
CHECKPOINTS ?= $(AUDIT_STATE)/audit-witness

.PHONY: audit-verify
audit-verify: $(MODULES) ## verify an audit log: LOG=..., KEY=..., CHECKPOINTS=... (the development stack's by default)
	$(RUN) node services/audit/src/verify/main.ts --log $(LOG) --key $(KEY) --checkpoints $(CHECKPOINTS)

.PHONY: clean
clean: down ## remove downloads, images and packages
	rm -rf .cache .run node_modules services/*/node_modules deploy/node_modules proto/node_modules
