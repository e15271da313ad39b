# make check is what a change must pass; make help lists the rest.

GO    ?= go
# A slow machine, or a busy one, takes longer than the ten minutes that go test gives a package.
TEST   = $(GO) test -timeout 30m
TOOL   = $(GO) tool -modfile=tools.mod
FUZZ  ?= 10s
PEERS  = haproxy nginx curl wrk python3 node lighttpd apache2 etcd ip nft h2load nghttpd sslscan strace taskset ffmpeg gunicorn pdftoppm sqlite3 vipsthumbnail zstd slowhttptest systemd-analyze testssl chromium promtool
PEER_PACKAGES = haproxy nginx curl wrk python3 nodejs lighttpd apache2-bin etcd-server etcd-client iproute2 nftables nghttp2-client nghttp2-server sslscan ffmpeg libvips-tools poppler-utils sqlite3 zstd gunicorn strace util-linux slowhttptest systemd testssl.sh chromium prometheus

.PHONY: $(shell sed -nE "s/^([a-z-]+):.*/\1/p" Makefile)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## one static binary in build/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -pgo=cmd/evenkeel/release.pgo -o build/evenkeel ./cmd/evenkeel

test: ## the quick tests, three to four minutes; says what it skipped
	$(TEST) ./...
	@PATH=$$PATH:/usr/sbin; for tool in $(PEERS); do command -v $$tool >/dev/null || \
		echo "skipped: the tests that need $$tool, which is not installed; to run them too: make peers test"; done

test-grpc: ## grpc-go's interoperability cases and h2spec through an edge, which take a module of their own
	cd e2e/grpc && { $(GO) mod download || { $(NO_MODULES); exit 1; }; } && $(GO) vet ./... && $(GO) test -count 1 ./...

# For modules beside the project's own, whose dependencies may not be on this machine.
NO_MODULES = echo "make $@: Go modules are missing, see above: this target needs a Go module proxy that can be reached (go env GOPROXY), once" >&2

check: lint size race portable-fd portable fuzz differential attackers ## all that a change must pass

nightly: ## what is too long for each change: ten minutes of chaos, a minute of each fuzz target
	$(MAKE) chaos
	$(MAKE) fuzz FUZZ=1m

lint: ## gofmt, vet, staticcheck, and that it builds elsewhere, with its tests for macOS
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); echo 'run: gofmt -w .'; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) build ./cmd/... ./client ./master ./agent

MOST_BYTES = 28000000

size: build ## that the program has at most 28 MB
	@bytes=$$(wc -c < build/evenkeel); echo "build/evenkeel has $$bytes bytes"; [ $$bytes -le $(MOST_BYTES) ] || \
		{ echo "make size: at most $(MOST_BYTES) are allowed; go tool nm -size -sort size of a build without -ldflags says what is large" >&2; exit 1; }

race: ## the tests under the race detector, but for those of e2e, whose processes are not built with it
	$(TEST) -race $$($(GO) list ./... | grep -v '/e2e$$')

portable-fd: ## that what uses it builds with what other systems have in the place of epoll, and its own tests
	$(GO) vet -tags evenkeel_portable ./internal/fd ./edge/... ./client ./master ./cmd/evenkeel
	$(GO) test -race -tags evenkeel_portable ./internal/fd

portable: ## what other systems have in the place of epoll, tested here: the suite of edge by it, and those that use edge
	$(TEST) -tags evenkeel_portable ./edge/... ./cmd/evenkeel
	GOFLAGS=-tags=evenkeel_portable $(TEST) ./e2e -count 1 -run '^(TestClaim|TestRun$$|TestPeer(sBehindRun|Wrk|HAProxyInFront|sProxyProtocol|CurlVersions|CurlReadsEarlyAnswers|H2load)|TestTakeover$$|TestDrain$$|TestEdgeKilled|TestNginx)'

attackers: ## slowhttptest and testssl.sh against the defaults, in their long forms (a minute)
	$(GO) test ./e2e -count 1 -run 'TestSlowHTTPTest|TestTestSSL|TestPeerSslscan' -args -long

# Go's fuzzing sometimes takes the end of its time for a failure, though no input has failed.
OVERTIME = { grep -q 'context deadline exceeded' build/fuzz.log && ! grep -qE 'Failing input|panic' build/fuzz.log; }

fuzz: ## every fuzz target for FUZZ (10s) each
	@mkdir -p build; set -e; for file in $$(git grep -lE '^func Fuzz' -- '*_test.go'); do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9]+).*/\1/p' $$file); do \
			echo "fuzz ./$$(dirname $$file) $$target"; \
			code=0; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ) ./$$(dirname $$file) >build/fuzz.log 2>&1 || code=$$?; \
			tail -n 4 build/fuzz.log; [ $$code = 0 ] || $(OVERTIME) || { cat build/fuzz.log; exit $$code; }; \
		done; done

differential: ## 10,000 generated requests, good and broken, through an edge to a plain origin, and as many to one by TLS: what the origin saw, the log and the clients must agree (SEED=n for the same again)
	$(GO) test ./e2e -count 1 -v -run '^TestOriginLogAndClientAgree$$' -args -long -seed $(or $(SEED),0)

mutate: ## change ROOM's code a little, SAMPLES (60) times by a SEED (1; 1,2: two samples), and count what its tests notice (with those of WITH too); survivors are printed, figures go to build/bench/mutate-ROOM.json
	$(GO) build -o build/bench/mutate ./bench/mutate
	build/bench/mutate -room '$(ROOM)' -with '$(WITH)' -samples $(or $(SAMPLES),60) -seed $(or $(SEED),1) $(ARGS)

vuln: ## known vulnerabilities, where their list can be reached
	$(TOOL) govulncheck ./...

peers: ## install what the peer tests run against (Debian), none of it as a service
	apt-get update -qq
	@made=; policy=/usr/sbin/policy-rc.d; if [ ! -e $$policy ]; then made=1; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; fi; \
		apt-get install -y -qq --no-install-recommends $(PEER_PACKAGES); \
		status=$$?; [ -z "$$made" ] || rm $$policy; exit $$status
	@$(MAKE) browser || echo "skipped: make browser, as the npm registry cannot be reached: the tests of the page in Chromium are skipped"

man: build ## the manual pages, in build/man
	build/evenkeel man build/man

browser: ## what the tests of the page need of npm, in build/browser
	@command -v npm >/dev/null || apt-get install -y -qq --no-install-recommends npm
	@mkdir -p build/browser && cp ui/testdata/browser/package.json ui/testdata/browser/package-lock.json build/browser/
	cd build/browser && npm ci --ignore-scripts --no-audit --no-fund --silent

screenshots: ## the pictures of the page in docs
	$(GO) test ./ui -count 1 -run '^TestPageInChromium$$' -args -screenshots $(CURDIR)/docs

picture: build ## the moving picture of the demo in docs/demo.svg (half a minute on an idle machine)
	build/evenkeel demo --picture docs/demo.svg

chaos: build ## kill, stop, starve, cut off and reload all parts for DURATION (10m) by a SEED, and hold what is left against the rules; results in build/bench/chaos.json
	$(GO) build -o build/bench/chaos ./bench/chaos
	build/bench/chaos -duration $(or $(DURATION),10m) -seed $(or $(SEED),0)

chaos-million: build ## chaos, at 500 requests a second, with one seed after another until a million answers are matched (about an hour)
	$(GO) build -o build/bench/chaos ./bench/chaos
	build/bench/chaos -duration $(or $(DURATION),10m) -seed $(or $(SEED),1000) -rate $(or $(RATE),500) -answers 1000000

reliability-election: ## lose the leader ten times each way, and hold the time without one against its goal; results in build/bench/election.json
	@mkdir -p build/bench
	@{ EVENKEEL_PEERS=required $(GO) test ./e2e -count 1 -timeout 30m -v -run '^TestLeader' -args -long -out $(CURDIR)/build/bench/election.json; echo $$? >build/bench/election.code; } | \
		grep -vE '^\s*(\{|harness)'; exit $$(cat build/bench/election.code)

bench: ## the Go benchmarks, once each
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-ask: ## what an ask costs, beside a ping and gRPC; results in build/bench/ask.json
	$(GO) build -o build/bench/ask ./bench/ask
	cd bench/ask/grpc && $(GO) build -o ../../../build/bench/ask-grpc . || { $(NO_MODULES); exit 1; }
	build/bench/ask -grpc build/bench/ask-grpc -out build/bench/ask.json

bench-pick: build ## how long an edge waits for its master's answer, over mTLS and plainly, at 5, 120 and 600 requests/s (three minutes); results in build/bench/pick.json
	$(GO) build -o build/bench/pick ./bench/pick
	build/bench/pick $(ARGS)

bench-fleet: ## what 10,000 agents that report cost a master; plainly and by mTLS; results in build/bench/fleet.json and fleet-mtls.json
	$(GO) build -o build/bench/ask ./bench/ask
	build/bench/ask -fleet -out build/bench/fleet.json
	build/bench/ask -fleet -tls -out build/bench/fleet-mtls.json

bench-snapshots: ## what edges cost that watch 10,000 servers whose loads change; plainly and by mTLS; results in build/bench/snapshots.json and snapshots-mtls.json
	$(GO) build -o build/bench/ask ./bench/ask
	build/bench/ask -snapshots -out build/bench/snapshots.json
	build/bench/ask -snapshots -tls -out build/bench/snapshots-mtls.json

bench-simulate: ## the canonical scenarios in simulation, with their goals and peers, six seeds (minutes)
	@mkdir -p build/bench
	$(GO) run ./cmd/evenkeel simulate --all --policy least-load,haproxy-leastconn+weights,nginx-least-conn+weights,haproxy-random+weights,prequal-tuned+weights --seeds 301,302,303,304,305,306 --goals build/bench/simulate.json

bench-core: ## what a decision costs, by number of servers and by structure; results in build/bench/core.json
	$(GO) run ./bench/core

bench-carry: build ## what a request costs to carry, beside HAProxy and nginx, one core each (ARGS='-rounds 3' for less); results in build/bench/carry.json
	$(GO) build -o build/bench/carry ./bench/carry
	build/bench/carry $(ARGS)

profile: build ## run the carry benchmark and write the compiler's profile, cmd/evenkeel/release.pgo (two minutes)
	$(GO) build -o build/bench/carry ./bench/carry
	build/bench/carry -rounds 3 -only 'run,edge and master' -profile cmd/evenkeel/release.pgo

reliability: ## what dies, is drained, reloaded or overloaded, in the long forms (ten minutes; SCALE=.25 for a quarter of the load); results in build/bench/reliability.json
	@mkdir -p build/bench
	$(GO) test ./e2e -count 1 -timeout 30m -v -run 'Killed|Gone|Lost|FastErrors|Stale|Overload|Reload|Takeover|Drain' -args -long -scale $(or $(SCALE),1) -out $(CURDIR)/build/bench/reliability.json > build/bench/reliability.log 2>&1; code=$$?; grep -E '^(---|ok|FAIL)|_test.go:' build/bench/reliability.log; exit $$code

bench-real: build ## five real services under CPU quotas, edges with agents beside none, HAProxy and nginx, and what trouble does (root; twenty minutes; ARGS='-rounds 1 -length 30s -scale .5' for less, ARGS=-smoke for a minute); results in build/bench/real.json
	$(GO) build -o build/bench/real ./bench/real
	build/bench/real $(ARGS)

bench-start: build ## from starting the program to its first answer; results in build/bench/start.json
	$(GO) run ./bench/start

bench-attack: build ## what one attacker, by HTTP/2 or by slow bodies, does to another client (five minutes); results in build/bench/attack.json
	$(GO) build -o build/bench/attack ./bench/attack
	build/bench/attack $(ARGS)

bench-choose: build ## real edges, HAProxys and nginxs beside the ideal (an hour; ROUNDS=1 LENGTH=10s for less); results in build/bench/choose.json
	$(GO) build -o build/bench/choose ./bench/choose
	build/bench/choose -rounds $(or $(ROUNDS),5) -length $(or $(LENGTH),30s) -docs docs/benchmarks.md -plot docs/bench-choose.svg $(ARGS)
