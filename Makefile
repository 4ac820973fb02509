# The commands of every day. None is needed to use Atoll: go build, go run and
# go test do from a fresh clone.

.DEFAULT_GOAL := help
.PHONY: help build test race lint ci proto demo bench

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build crdtd and crdtctl into bin/
	go build -trimpath -o bin/ ./cmd/...

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
