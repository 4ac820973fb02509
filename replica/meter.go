package replica

import (
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/atolldb/atoll/antientropy"
	pb "github.com/atolldb/atoll/proto"
)

// TimeBounds are the upper bounds of the buckets of Times; one more takes what
// is above.
var TimeBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// Times is how long some things took.
type Times struct {
	Sum time.Duration
	// Buckets counts, for each of TimeBounds, what took no longer than it and
	// longer than the one before; the last one what took longer than all.
	Buckets [len(TimeBounds) + 1]uint64
}

// Count returns how many things there were.
func (t *Times) Count() (n uint64) {
	for _, in := range t.Buckets {
		n += in
	}
	return n
}

// times is a Times in the making, for many goroutines.
type times struct {
	sum     atomic.Int64
	buckets [len(TimeBounds) + 1]atomic.Uint64
}

func (t *times) add(d time.Duration) {
	i := 0
	for i < len(TimeBounds) && d > TimeBounds[i] {
		i++
	}
	t.buckets[i].Add(1)
	t.sum.Add(int64(d))
}

func (t *times) load() Times {
	out := Times{Sum: time.Duration(t.sum.Load())}
	for i := range t.buckets {
		out.Buckets[i] = t.buckets[i].Load()
	}
	return out
}

// What is measured is named by what the messages name it, so that an operation,
// an error or a level that is new is measured under its own name.
var (
	whatOf      = (*pb.Operation)(nil).ProtoReflect().Descriptor().Oneofs().ByName("what")
	resultNames = append([]string{"ok"}, enumNames(pb.Error_Code(0).Descriptor(), "_")...)
	levelNames  = enumNames(pb.Consistency(0).Descriptor(), "-")
)

// The kinds of requests: those that change nothing, and others.
const (
	reading = iota
	writing
	kindsOfRequests
)

var requestKinds = [kindsOfRequests]string{reading: "read", writing: "write"}

// kindsOfTasks is how many kinds of tasks the planner has.
const kindsOfTasks = int(antientropy.WalkPeriodic) + 1

// enumNames returns the names of an enumeration's values by number, in small
// letters. Its numbers begin at 0, without gaps.
func enumNames(e protoreflect.EnumDescriptor, separator string) []string {
	names := make([]string, e.Values().Len())
	for i := range names {
		value := e.Values().ByNumber(protoreflect.EnumNumber(i))
		names[i] = strings.ReplaceAll(strings.ToLower(string(value.Name())), "_", separator)
	}
	return names
}

// meter measures what a replica does. It takes no locks.
type meter struct {
	operations [][]atomic.Uint64 // by place in whatOf, then in resultNames
	requests   [kindsOfRequests][]times
	commits    times
	tasks      [kindsOfTasks]atomic.Uint64
	traffic    [kindsOfTraffic]flow
}

func newMeter() *meter {
	m := &meter{operations: make([][]atomic.Uint64, whatOf.Fields().Len())}
	for i := range m.operations {
		m.operations[i] = make([]atomic.Uint64, len(resultNames))
	}
	for i := range m.requests {
		m.requests[i] = make([]times, len(levelNames))
	}
	return m
}

// served takes in how a request ended, and after what time. A request that was
// refused as it stood may hold anything.
func (m *meter) served(request *pb.Request, took time.Duration, err error) {
	result := 0
	if err != nil {
		result = 1 + int(EncodeError(err).GetCode())
	}
	kind := reading
	for _, op := range request.GetOperations() {
		if isWrite, err := isWrite(op); err == nil && isWrite {
			kind = writing
		}
		if i, known := operationIndex(op); known {
			m.operations[i][result].Add(1)
		}
	}
	if level := int(request.GetConsistency()); level >= 0 && level < len(levelNames) {
		m.requests[kind][level].add(took)
	}
}

// operationIndex returns which of whatOf an operation is.
func operationIndex(op *pb.Operation) (int, bool) {
	if op.GetWhat() == nil {
		return 0, false
	}
	field := op.ProtoReflect().WhichOneof(whatOf)
	return operationIndexes[field.Number()], true
}

var operationIndexes = func() map[protoreflect.FieldNumber]int {
	indexes := map[protoreflect.FieldNumber]int{}
	for i := range whatOf.Fields().Len() {
		indexes[whatOf.Fields().Get(i).Number()] = i
	}
	return indexes
}()
