package house

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestHouse holds the module against the plan.
func TestHouse(t *testing.T) {
	module, err := readSource(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if module.packages["internal/house"] == nil {
		t.Fatalf("read %d packages, and not this one; is ../.. the module's root?", len(module.packages))
	}
	for _, wrong := range atoll().violations(module) {
		t.Error(wrong)
	}
}

func TestEveryRuleHasAReason(t *testing.T) {
	p := atoll()
	reasons := map[string]string{}
	for _, ban := range slices.Concat(p.imports, p.tested, p.reach) {
		reasons[strings.Join(ban.from, " ")+" -> "+strings.Join(ban.to, " ")] = ban.reason
	}
	for _, library := range p.libraries {
		reasons[library.path] = library.reason
	}
	for _, call := range p.calls {
		reasons[strings.Join(call.from, " ")+" -> "+call.of] = call.reason
	}
	for rule, reason := range reasons {
		if len(reason) < 20 {
			t.Errorf("%s: the reason is %q; say why", rule, reason)
		}
	}
}

func TestEveryPackageHasOneFloor(t *testing.T) {
	seen := map[string]bool{}
	for _, floor := range atoll().floors {
		for _, name := range floor.packages {
			if seen[name] {
				t.Errorf("%s stands on two floors", name)
			}
			seen[name] = true
		}
	}
}

// house makes a module out of files; each package without a doc.go gets one.
func house(t *testing.T, files map[string]string) *source {
	t.Helper()
	fsys := fstest.MapFS{"go.mod": {Data: []byte("module example.org/a\n\ngo 1.26\n")}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
		dir := name[:strings.LastIndexByte(name, '/')]
		base := dir[strings.LastIndexByte(dir, '/')+1:]
		if doc := dir + "/doc.go"; files[doc] == "" && !strings.Contains(text, "package main") {
			fsys[doc] = &fstest.MapFile{Data: []byte("// Package " + base + " is made up.\npackage " + base + "\n")}
		}
	}
	s, err := readSource(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBrokenHouses breaks each rule once. A line of want is a part of one
// violation; there must be as many violations as lines.
func TestBrokenHouses(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"sound", map[string]string{
			"crdt/a.go":           `package crdt; import "errors"; var _ = errors.New`,
			"crdt/a_test.go":      `package crdt; import ("os"; "example.org/a/replica"); var _ = os.Getenv; var _ = replica.A`,
			"crdt/crdttest/a.go":  `package crdttest; import ("testing"; "math/rand/v2"; "pgregory.net/rapid"; "example.org/a/crdt"); var _ = rand.New`,
			"internal/hlc/a.go":   `package hlc; import "time"; type A struct { t time.Time }`,
			"merkle/a.go":         `package merkle; import "github.com/minio/highwayhash"`,
			"antientropy/a.go":    `package antientropy; import ("time"; "example.org/a/proto"; "example.org/a/merkle"); var _ time.Duration`,
			"proto/a.go":          `package proto; import "google.golang.org/protobuf/proto"`,
			"replica/a.go":        `package replica; import ("time"; "example.org/a/antientropy"; "example.org/a/transport"); func a() { go a(); time.Now() }`,
			"transport/nats/a.go": `package nats; import ("net"; "github.com/nats-io/nats.go"; "example.org/a/transport")`,
			"client/a.go":         `package client; import "example.org/a/transport/nats"`,
			"server/a.go":         `package server; import ("github.com/BurntSushi/toml"; "example.org/a/replica"; "example.org/a/transport/nats"; "example.org/a/internal/wan")`,
			"cmd/crdtctl/a.go":    `package main; import ("os"; "flag"; "github.com/urfave/cli/v2"; "example.org/a/server"); var _ = os.Args`,
			"cmd/crdtctl/doc.go":  "// Command crdtctl is made up.\npackage main",
			"internal/wan/a.go":   `package wan; import "net"`,
			"crdt/testdata/a.go":  `this is not Go`,
			"crdt/.old/a.go":      `this is not Go`,
			"third/go.mod":        "module example.org/b",
			"third/util/a.go":     `package util`,
		}, nil},
		{"no floor", map[string]string{"internal/cellar/a.go": "package cellar"},
			[]string{"internal/cellar: is not in the plan; give it a floor"}},
		{"up", map[string]string{"merkle/a.go": "package merkle\nimport \"example.org/a/proto\""},
			[]string{"merkle/a.go:2: merkle (floor 0: pure: no clock, network, disk, goroutine, global randomness) imports proto (floor 1"}},
		{"up to a package yet to come", map[string]string{"client/a.go": `package client; import "example.org/a/server"`},
			[]string{"client (floor 4: faces) imports server (floor 5: assembly)"}},
		{"sideways", map[string]string{"internal/store/badgerstore/a.go": `package badgerstore; import "example.org/a/transport/nats"`},
			[]string{"imports transport/nats beside it on floor 3"}},
		{"impure", map[string]string{
			"crdt/a.go":          `package crdt; import ("net/netip"; "os"; "log/slog"; "time"; "math/rand/v2")`,
			"crdt/crdttest/a.go": `package crdttest; import "os"`,
			"internal/ring/a.go": `package ring; import ("syscall"; "google.golang.org/protobuf/proto")`,
		}, []string{
			"crdt imports net/netip; floor 0 is pure", "crdt imports os; floor 0 is pure", "crdt imports log/slog; floor 0 is pure",
			"crdt imports time; floor 0 has no clock", "crdt imports math/rand/v2; floor 0 gives the same result",
			"crdt/crdttest imports os; floor 0 is pure", "internal/ring imports syscall; floor 0 is pure",
			"internal/ring imports google.golang.org/protobuf/proto; the algebra has",
		}},
		{"IO in a protocol", map[string]string{"antientropy/a.go": `package antientropy; import "net"`},
			[]string{"antientropy imports net; floor 1 does no IO"}},
		{"flags below cmd", map[string]string{"server/a.go": `package server; import "flag"`},
			[]string{"server imports flag; flags are read in cmd only"}},
		{"test code in a program", map[string]string{
			"server/a.go":                    `package server; import ("testing"; "example.org/a/internal/store/storetest")`,
			"internal/store/storetest/a.go":  `package storetest; import "testing"`,
			"transport/transporttest/doc.go": "// Package transporttest is made up.\npackage transporttest; import \"testing\"",
		}, []string{"server imports testing; test code", "server imports internal/store/storetest; test code"}},
		{"virtual time past its door", map[string]string{
			"internal/bubble/a_test.go": `package bubble; import "testing/synctest"`,
			"server/a_test.go":          `package server; import "testing/synctest"`,
			"replica/a_test.go":         `package replica; import ("testing"; "example.org/a/internal/bubble")`,
		}, []string{"server/a_test.go:1: server imports testing/synctest; a bubble"}},
		{"a session with a store", map[string]string{"antientropy/a.go": `package antientropy; import "example.org/a/internal/store"`},
			[]string{"antientropy: imports internal/store; a sync session is"}},
		{"a contract with an adapter", map[string]string{"transport/a.go": `package transport; import "example.org/a/transport/memnet"`},
			[]string{"floor", "transport: imports transport/memnet; a contract does not know"}},
		{"an adapter with the engine", map[string]string{"transport/memnet/a.go": `package memnet; import "example.org/a/replica"`},
			[]string{"transport/memnet: imports replica; an adapter", "transport/memnet: joins replica and transport/memnet"}},
		{"a suite with an adapter", map[string]string{"internal/store/storetest/a.go": `package storetest; import "example.org/a/internal/store/memstore"`},
			[]string{"beside it on floor 3", "internal/store/storetest: imports internal/store/memstore; a conformance suite"}},
		{"the engine with NATS, through another", map[string]string{
			"replica/a.go":   `package replica; import "example.org/a/transport"`,
			"transport/a.go": `package transport; import "github.com/nats-io/nats.go"`,
		}, []string{
			"replica: imports transport -> github.com/nats-io/nats.go; the engine declares",
			"transport imports github.com/nats-io/nats.go, which only transport/nats/... may",
		}},
		{"the engine with an adapter", map[string]string{"replica/a.go": `package replica; import "example.org/a/internal/store/memstore"`},
			[]string{"imports internal/store/memstore (floor 3", "replica: imports internal/store/memstore; the engine declares", "replica: joins replica and internal/store/memstore"}},
		{"the truth with the algebra", map[string]string{"internal/traffic/a.go": `package traffic; import "example.org/a/crdt"`},
			[]string{"internal/traffic: imports crdt; the truth"}},
		{"a client with a database", map[string]string{"client/a.go": `package client; import "example.org/a/replica"`},
			[]string{"client: imports replica; a program that links the client"}},
		{"a face that wires", map[string]string{"internal/resp/a.go": `package resp; import ("example.org/a/replica"; "example.org/a/transport/nats")`},
			[]string{"internal/resp: joins replica and transport/nats; only the assembly (floor 5)"}},
		{"a server with a show", map[string]string{"server/a.go": `package server; import "example.org/a/internal/demo"`},
			[]string{"server: imports internal/demo; what is shipped"}},
		{"a new dependency", map[string]string{"server/a.go": "package server\n\nimport \"example.com/new\""},
			[]string{"server/a.go:3: example.com/new is a new dependency"}},
		{"a library by another door", map[string]string{"internal/demo/a.go": `package demo; import "github.com/dgraph-io/badger/v4"`},
			[]string{"imports github.com/dgraph-io/badger/v4, which only internal/store/badgerstore/... may"}},
		{"a goroutine below", map[string]string{"merkle/a.go": "package merkle\nfunc a() {\n\tgo a()\n}"},
			[]string{"merkle/a.go:3: merkle uses the go statement; floors 0 and 1"}},
		{"a clock below", map[string]string{
			"antientropy/a.go":  `package antientropy; import clock "time"; var now = clock.Now`,
			"internal/hlc/a.go": `package hlc; import "time"; func a() { <-time.After(1) }`,
		}, []string{"antientropy uses time.Now; floors 0 and 1", "internal/hlc uses time.After; floors 0 and 1"}},
		{"global randomness", map[string]string{
			"crdt/crdttest/a.go": `package crdttest; import "math/rand/v2"; var a = rand.IntN(2)`,
			"server/a.go":        `package server; import "math/rand"; var a = rand.New`,
		}, []string{"crdt/crdttest uses math/rand/v2.IntN; global randomness", "server uses math/rand.New; math/rand/v2 has"}},
		{"the environment below cmd", map[string]string{"server/a.go": `package server; import "os"; var a = os.Getenv("A")`},
			[]string{"server uses os.Getenv; the environment"}},
		{"the global logger", map[string]string{"replica/a.go": `package replica; import "log/slog"; func a() { slog.Info("a") }`},
			[]string{"replica uses log/slog.Info; the logger is passed in"}},
		{"a grab-bag", map[string]string{
			"examples/util/a.go":   `package util`,
			"examples/a/a.go":      `package common`,
			"examples/a/a_test.go": `package common_test`,
			"examples/a/doc.go":    "// Package a is made up.\npackage a",
		}, []string{
			`examples/util: "util" says nothing`, `examples/util/a.go: package "util" says nothing`, `examples/util/doc.go: package "util" says nothing`,
			`examples/a/a.go: package "common" says nothing`, `examples/a/a_test.go: package "common" says nothing`,
		}},
		{"no doc", map[string]string{"cmd/crdtd/main.go": "// Command crdtd is made up.\npackage main"},
			[]string{"cmd/crdtd: has no doc.go; write one"}},
		{"doc without a comment", map[string]string{
			"crdt/doc.go":      "// A copyright.\n\npackage crdt",
			"merkle/doc.go":    "// Trees of hashes.\npackage merkle",
			"cmd/crdtd/doc.go": "// Package main is made up.\npackage main",
		}, []string{
			`crdt/doc.go: the package comment begins with ""; want "Package crdt "`,
			`merkle/doc.go: the package comment begins with "Trees of hashes.\n"; want "Package merkle "`,
			`cmd/crdtd/doc.go: the package comment begins with "Package main is made up.\n"; want "Command crdtd "`,
		}},
		{"endless files", map[string]string{
			"crdt/a.go":      "package crdt\n" + strings.Repeat("\n", maxLines),
			"crdt/b.go":      "package crdt\n" + strings.Repeat("\n", maxLines-1),
			"crdt/a_test.go": "package crdt\n" + strings.Repeat("\n", maxTestLines),
			"crdt/b_test.go": "package crdt\n" + strings.Repeat("\n", maxTestLines-1),
			"crdt/c.go":      "// Code generated by hand. DO NOT EDIT.\n\npackage crdt\n" + strings.Repeat("\n", 5000),
		}, []string{"crdt/a.go: has 501 lines; want at most 500", "crdt/a_test.go: has 701 lines; want at most 700"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := atoll().violations(house(t, test.files))
			for _, want := range test.want {
				if !slices.ContainsFunc(got, func(wrong string) bool { return strings.Contains(wrong, want) }) {
					t.Errorf("nobody says %q", want)
				}
			}
			if len(got) != len(test.want) || t.Failed() {
				t.Errorf("%d violations, want %d:\n%s", len(got), len(test.want), strings.Join(got, "\n"))
			}
		})
	}
}

func TestSourceMustBeReadable(t *testing.T) {
	for name, fsys := range map[string]fstest.MapFS{
		"no go.mod":   {},
		"no module":   {"go.mod": {Data: []byte("go 1.26\n")}},
		"not Go code": {"go.mod": {Data: []byte("module a\n")}, "b/b.go": {Data: []byte("hello")}},
	} {
		if _, err := readSource(fsys); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}
