package house

// plan is the layout that the module must follow. Packages are named by their
// directory in the module; in a pattern, "x/..." is x and everything below it.
type plan struct {
	floors    []floor
	imports   []ban     // what may not be imported
	tested    []ban     // what not even tests may import
	reach     []ban     // what may not be imported, nor by anything imported
	libraries []library // every dependency outside the module
	calls     []call    // what may not be called
}

// floor is one floor of the house. Its packages import those of lower floors,
// and one another only if sideways says so.
type floor struct {
	name     string
	sideways bool
	packages []string
}

// ban forbids the packages from to import any of to, for a reason.
type ban struct {
	from, to, except []string
	reason           string
}

// library says which packages may import what matches path, and why it is
// here at all.
type library struct {
	path   string
	doors  []string
	reason string
}

// call forbids the packages from to use names of a package. Names that begin
// with "!" are the only ones allowed instead.
type call struct {
	from   []string
	of     string
	names  []string
	except []string
	reason string
}

// theGoStatement is the name of "go f()" among the calls.
const theGoStatement = "go"

const assembly = 5 // the floor from which on engine and adapters may be joined

// bounds of a file, in lines.
const (
	maxLines     = 500
	maxTestLines = 700
)

// engine and adapters are what only the assembly joins.
var (
	engine   = []string{"replica/..."}
	adapters = []string{
		"internal/store/badgerstore/...", "internal/store/faultstore/...", "internal/store/memstore/...",
		"transport/nats/...", "transport/memnet/...",
	}
	suites = []string{"crdt/crdttest/...", "internal/bubble/...", "internal/store/storetest/...", "transport/transporttest/..."}
)

// badNames are names of grab-bags: what has no home shows that the house lacks
// a room, and the room should be named for the concept.
var badNames = []string{
	"util", "utils", "common", "helper", "helpers", "type", "types", "misc", "base", "shared", "lib",
}

// atoll returns the plan of this module: ARCHITECTURE.md, section "The house".
func atoll() plan {
	p := plan{floors: []floor{
		{"pure: no clock, network, disk, goroutine, global randomness", true, []string{
			"crdt", "crdt/crdttest", "merkle", "internal/hlc", "internal/ring",
		}},
		{"wire, protocols and contracts, without IO", true, []string{
			"proto", "antientropy", "internal/membership", "transport", "internal/store", "internal/backup", "internal/transfer", "internal/quiet", "internal/allocs", "internal/bubble",
		}},
		{"the engine", false, []string{"replica"}},
		{"adapters, and the suites that they pass", false, []string{
			"internal/store/badgerstore", "internal/store/faultstore", "internal/store/memstore", "internal/store/storetest",
			"transport/nats", "transport/memnet", "transport/transporttest",
			"internal/traffic", "internal/keys", "internal/ports",
		}},
		// internal/resp and internal/dashboard are yet to be built.
		{"faces", false, []string{"client", "internal/resp", "internal/dashboard", "internal/metrics"}},
		{"assembly", true, []string{
			"server", "internal/book", "internal/cluster", "internal/containers", "internal/sim", "internal/soak", "internal/wan", "internal/demo", "internal/house",
			"cmd/crdtd", "cmd/crdtctl", "examples/...",
		}},
	}}
	pure := p.on(0)
	quiet := p.on(0, 1)
	belowMain := []string{
		"crdt/...", "merkle/...", "proto/...", "antientropy/...", "transport/...", "replica/...",
		"client/...", "server/...", "internal/...",
	}
	// A program for developers, which go install ./cmd/... does not install.
	programs := []string{"internal/soak"}
	p.imports = []ban{
		{pure, []string{"net/...", "os/...", "io/ioutil", "path/filepath", "syscall/...", "plugin", "golang.org/x/sys/...", "C"}, nil,
			"floor 0 is pure: network, disk and system stay outside"},
		{pure, []string{"log/..."}, nil,
			"floor 0 is pure: it returns what there is to say"},
		{pure, []string{"time"}, []string{"internal/hlc"},
			"floor 0 has no clock; internal/hlc alone deals with time, over a physical clock that is passed in"},
		{pure, []string{"math/rand/...", "crypto/rand"}, []string{"crdt/crdttest"},
			"floor 0 gives the same result for the same input; crdt/crdttest alone draws, from a seed that it prints"},
		{pure, []string{"google.golang.org/protobuf/..."}, nil,
			"the algebra has a canonical encoding of its own; protobuf's is not canonical"},
		{p.on(1), []string{"net/...", "os/...", "io/ioutil", "syscall/...", "log/...", "crypto/rand", "golang.org/x/sys/...", "C"}, nil,
			"floor 1 does no IO: messages and the time come as arguments, what to do is returned"},
		{belowMain, []string{"flag"}, programs,
			"flags are read in cmd only; below it, options are a struct"},
		{[]string{"..."}, append([]string{"testing/..."}, suites...), suites,
			"test code does not belong into programs; only the suites are test code outside of test files"},
	}
	p.tested = []ban{
		{[]string{"..."}, []string{"testing/synctest/..."}, []string{"internal/bubble/..."},
			"a bubble with several processors crashes with the race detector; internal/bubble sees to it"},
	}
	p.reach = []ban{
		{[]string{"antientropy/..."}, []string{"internal/store/...", "transport/..."}, nil,
			"a sync session is step(message, now): its caller sends, and touches the store"},
		{[]string{"transport", "internal/store"}, append([]string{"replica/..."}, adapters...), nil,
			"a contract does not know who fulfils it or uses it"},
		{append([]string{"internal/traffic/..."}, adapters...), engine, nil,
			"an adapter that imports the engine cannot be replaced or tested without it"},
		{suites, append([]string{"replica/..."}, adapters...), nil,
			"a conformance suite knows the contract only, or it would favour an implementation"},
		{engine, append([]string{"github.com/nats-io/...", "github.com/dgraph-io/..."}, adapters...), nil,
			"the engine declares the store and the transport it needs, and is handed them"},
		{[]string{"internal/traffic/..."}, []string{"crdt/...", "merkle/...", "proto/..."}, nil,
			"the truth that replicated counts are checked against shares no code with them"},
		{[]string{"client/..."}, append([]string{"internal/store/..."}, engine...), nil,
			"a program that links the client does not link a database"},
		{[]string{"server/...", "internal/wan/..."}, []string{"internal/demo/...", "internal/sim/..."}, nil,
			"what is shipped does not contain its own show or simulator"},
		{[]string{"server/...", "client/...", "cmd/...", "internal/demo/...", "examples/..."}, []string{"internal/cluster/...", "internal/containers/...", "internal/soak/..."}, nil,
			"internal/cluster and internal/containers build crdtd and kill it, which is for tests: programs embed a member instead"},
		{[]string{"internal/book/..."}, append([]string{"server/...", "internal/cluster/..."}, engine...), nil,
			"the book that members are checked against shares no code with them"},
	}
	p.libraries = []library{
		{"github.com/dgraph-io/badger/v4/...", []string{"internal/store/badgerstore/..."},
			"the store on disk; through one door, so that it can be replaced"},
		{"github.com/nats-io/nkeys/...", []string{"transport/nats/...", "internal/keys/..."},
			"keys to log in at NATS with; who checks them, and who makes them"},
		{"github.com/nats-io/...", []string{"transport/nats/..."},
			"the network; through one door, so that tests can do without"},
		{"github.com/minio/highwayhash/...", []string{"merkle/...", "internal/ring/...", "crdt/..."},
			"a keyed hash that is defined bit by bit, fast and without state"},
		{"google.golang.org/protobuf/...", []string{"..."},
			"the wire; banned on floor 0 above"},
		{"github.com/urfave/cli/v2/...", []string{"cmd/..."},
			"command lines; flags are read in cmd only"},
		{"github.com/BurntSushi/toml/...", []string{"server/...", "cmd/..."},
			"config files; read where members are assembled"},
		{"github.com/prometheus/client_golang/...", []string{"internal/metrics/..."},
			"the formats of Prometheus, and what the runtime and the system say of a process; one door, as the engine counts by itself"},
		{"github.com/anishathalye/porcupine/...", nil,
			"checks histories for linearizability; for tests of the engine"},
		{"pgregory.net/rapid/...", suites,
			"random histories that shrink; for test code"},
	}
	p.calls = []call{
		{quiet, theGoStatement, []string{theGoStatement}, nil,
			"floors 0 and 1 start no goroutine: one runner on a higher floor owns it"},
		{quiet, "time", []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, nil,
			"floors 0 and 1 have no clock: the time is an argument"},
		{[]string{"..."}, "math/rand", []string{"!"}, nil,
			"math/rand/v2 has sources that are defined bit by bit"},
		{quiet, "math/rand/v2", []string{"!New", "!NewPCG", "!NewChaCha8", "!NewZipf", "!Rand", "!Source", "!PCG", "!ChaCha8", "!Zipf"}, nil,
			"global randomness cannot be replayed: draw from a source that is passed in"},
		{belowMain, "os", []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Args", "Exit"}, programs,
			"the environment is read, and the process ended, in cmd only"},
		{belowMain, "log/slog", []string{
			"Default", "SetDefault", "Debug", "DebugContext", "Info", "InfoContext",
			"Warn", "WarnContext", "Error", "ErrorContext", "Log", "LogAttrs",
		}, nil, "the logger is passed in"},
	}
	return p
}

// on returns the packages of the given floors.
func (p plan) on(floors ...int) []string {
	var packages []string
	for _, n := range floors {
		packages = append(packages, p.floors[n].packages...)
	}
	return packages
}
