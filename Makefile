# The commands of every day. None is needed to use Atoll: go build, go run and
# go test do from a fresh clone.

.DEFAULT_GOAL := help
.PHONY: help build test race lint ci proto demo bench fuzz soak breaks image

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build crdtd and crdtctl into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

test: ## run all tests
	go test ./...

race: ## run all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

lint: ## format, then vet and staticcheck
	gofmt -l -w .
	go vet ./...
	go tool staticcheck ./...

ci: ## check all that must hold before a change is taken
	.ci/run

proto: ## make proto/atoll.pb.go from proto/atoll.proto (needs protoc)
	go build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go
	protoc --plugin=bin/protoc-gen-go --go_out=. --go_opt=module=github.com/atolldb/atoll proto/atoll.proto

demo: ## three regions count traffic; ARGS="--log FILE" for your own
	go run ./cmd/crdtctl demo $(ARGS)

bench: ## run the benchmarks; BENCH=regexp chooses
	go test -run '^$$' -bench '$(or $(BENCH),.)' ./...

# Without the limit, each find is shrunk for up to a minute, and as goroutines
# never run twice alike, nothing comes of it.
fuzz: ## fuzz every decoder of remote and disk bytes; FUZZTIME=30s for each
	@set -e; for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(or $(FUZZTIME),30s) -fuzzminimizetime 50x -parallel 1 $$package; \
		done; \
	done

soak: ## simulate SEEDS=1000 clusters, run three processes through faults for DURATION=10m
	go test ./internal/sim -run '^TestSeeds$$' -count=1 -timeout 0 -v -seeds $(or $(SEEDS),1000) -from $$(date +%s)
	go run ./internal/soak --duration $(or $(DURATION),10m) $(ARGS)

breaks: ## break each rule of the kernel on purpose, and have the simulator find it
	go test ./internal/sim -run '^TestBreaks$$' -count=1 -timeout 0 -v -deep

# Times and modes of the files are fixed, so that the same source and the same Go
# make the same layer.
image: ## build the image atoll:dev from binaries built here (needs Docker)
	rm -rf bin/image && mkdir -p bin/image/var/lib/atoll bin/image/etc/atoll
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o bin/image/ ./cmd/...
	chmod -R 755 bin/image
	find bin/image -exec touch -d @0 {} +
	docker build --quiet --target host -t atoll:dev -f examples/geo/Dockerfile bin/image
	@docker image inspect --format '{{.RepoTags}} {{.Size}} bytes, layers {{.RootFS.Layers}}' atoll:dev
