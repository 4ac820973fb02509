package replica

import (
	"fmt"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/proto"
)

// Bounds of one request.
const (
	maxOperations   = 1024
	maxElements     = 4096
	maxRequestBytes = crdt.MaxValueBytes + 64<<10
	// maxPage is how many elements a page of a set holds at most, and
	// pageBytes how many bytes of them, but for one element.
	maxPage   = 10_000
	pageBytes = 512 << 10
)

// check validates a request and counts the writes in it.
func (r *Replica) check(shard int, request *proto.Request) (writes int, err error) {
	operations := request.GetOperations()
	if n := len(operations); n == 0 || n > maxOperations {
		return 0, tooManyOperations(n)
	}
	elements := 0
	if isScan(request) {
		return 0, checkScan(operations[0])
	}
	for _, op := range operations {
		key := string(op.GetKey())
		if err := (crdt.Object{Key: key, Type: crdt.TypeCounter}).Validate(); err != nil {
			return 0, err
		}
		if !holds(r.options.Shards, shard, key) {
			return 0, fmt.Errorf("%w: the key %.64q belongs to shard %d, not %d", ErrWrongShard, key, ring.Shard(key, r.options.Shards), shard)
		}
		if t := op.GetDelete().GetType(); t > uint32(len(crdt.Types)) {
			return 0, fmt.Errorf("%w: a delete of the unknown type %d; 0 deletes all types", crdt.ErrInvalid, t)
		}
		if err := checkRead(op); err != nil {
			return 0, err
		}
		isWrite, err := isWrite(op)
		if err != nil {
			return 0, err
		}
		if isWrite {
			writes++
		}
		elements += len(op.GetSetAdd().GetElements()) + len(op.GetSetRemove().GetElements())
	}
	if elements > maxElements {
		return 0, tooManyElements(elements)
	}
	if err := checkOperation(request); err != nil {
		return 0, err
	}
	return writes, checkBytes(request)
}

// checkRead refuses a read that cannot be answered, before the writes beside it
// are done.
func checkRead(op *proto.Operation) error {
	if op.GetScan() != nil {
		return fmt.Errorf("%w: a scan beside other operations; it goes alone", crdt.ErrInvalid)
	}
	id := crdt.FieldID{Object: crdt.Object{Key: string(op.GetKey()), Type: crdt.TypeSet}}
	id.Name = string(op.GetSetHas())
	if err := id.Validate(); err != nil {
		return err
	}
	id.Name = string(op.GetSetMembers().GetAfter())
	if err := id.Validate(); err != nil {
		return fmt.Errorf("the cursor of a page: %w", err)
	}
	return nil
}

// checkBytes bounds a request as a whole. A value that is too long by itself
// is left to be refused by what it is.
func checkBytes(request *proto.Request) error {
	n := 0
	eachBytes(request, func(bytes int) { n += bytes })
	for _, op := range request.GetOperations() {
		if len(op.GetRegisterSet()) > crdt.MaxValueBytes {
			return fmt.Errorf("%w: the value has %d bytes; at most %d are allowed", crdt.ErrInvalid, len(op.GetRegisterSet()), crdt.MaxValueBytes)
		}
	}
	if n > maxRequestBytes {
		return fmt.Errorf("%w: a request of %d bytes; it takes at most %d", crdt.ErrInvalid, n, maxRequestBytes)
	}
	return nil
}

// requestSize is about what the request takes in a batch: as data and in the
// log.
func requestSize(request *proto.Request) int {
	size := 0
	eachBytes(request, func(bytes int) { size += fieldSize + 2*bytes })
	if len(request.GetOperation()) > 0 {
		size *= 2 // a record for each key, in the order of times, too
	}
	return size
}

// eachBytes tells the bytes of each field that a request names.
func eachBytes(request *proto.Request, f func(bytes int)) {
	for _, op := range request.GetOperations() {
		key := len(op.GetKey())
		f(key + len(op.GetRegisterSet()))
		for _, elements := range [...]*proto.Elements{op.GetSetAdd(), op.GetSetRemove()} {
			for _, e := range elements.GetElements() {
				f(key + len(e))
			}
		}
	}
}

// read answers one operation that changes nothing.
func read(snap store.Snapshot, shard int, op *proto.Operation) (*proto.Result, error) {
	key := string(op.GetKey())
	switch what := op.GetWhat().(type) {
	case *proto.Operation_CounterGet:
		es, err := readField(snap, shard, crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeCounter}}.Position())
		if err != nil {
			return nil, err
		}
		result := &proto.Result{Number: crdt.CounterValue(es), Flag: alive(es)}
		return result, others(snap, shard, key, crdt.TypeCounter, result.Flag, result)
	case *proto.Operation_SetHas:
		id := crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeSet}, Name: string(what.SetHas)}
		es, err := readField(snap, shard, id.Position())
		return &proto.Result{Flag: len(es) > 0}, err
	case *proto.Operation_SetCard:
		n, err := readHeader(snap, headerKey(shard, crdt.Object{Key: key, Type: crdt.TypeSet}))
		if err != nil {
			return nil, err
		}
		result := &proto.Result{Number: int64(n)}
		return result, others(snap, shard, key, crdt.TypeSet, n > 0, result)
	case *proto.Operation_SetMembers:
		return members(snap, shard, key, what.SetMembers)
	case *proto.Operation_RegisterGet:
		return siblings(snap, shard, key)
	case *proto.Operation_Scan:
		return scan(snap, shard, op.GetKey(), what.Scan)
	}
	return nil, fmt.Errorf("%w: not a read", crdt.ErrInvalid)
}

// others says, of a key that has no object of the type asked for, which other
// types it has: a hint for people.
func others(snap store.Snapshot, shard int, key string, asked crdt.Type, found bool, result *proto.Result) error {
	if found {
		return nil
	}
	for _, t := range crdt.Types {
		if t == asked {
			continue
		}
		there, err := exists(snap, shard, crdt.Object{Key: key, Type: t})
		if err != nil {
			return err
		}
		if there {
			result.OtherTypes = append(result.OtherTypes, uint32(t))
		}
	}
	return nil
}

// exists says whether there is an object.
func exists(snap store.Snapshot, shard int, o crdt.Object) (bool, error) {
	n, err := readHeader(snap, headerKey(shard, o))
	if n == 0 || o.Type != crdt.TypeCounter {
		return n > 0, err
	}
	es, err := readField(snap, shard, crdt.FieldID{Object: o}.Position())
	return alive(es), err
}

// alive says whether a counter is there: what resets have left of it does not
// count.
func alive(es crdt.Entries) bool {
	return slices.ContainsFunc(es, func(e crdt.Entry) bool {
		c, ok := e.Payload.(crdt.Contribution)
		return ok && !c.Dead()
	})
}

// members returns a page of a set. The cursor is the last element of the page
// before: elements come in the order of their hashes.
func members(snap store.Snapshot, shard int, key string, page *proto.Page) (*proto.Result, error) {
	o := crdt.Object{Key: key, Type: crdt.TypeSet}
	lo, hi := o.Range()
	from := entryKey(shard, lo)
	if after := page.GetAfter(); len(after) > 0 {
		from = append(entryKey(shard, crdt.FieldID{Object: o, Name: string(after)}.Position()), 0)
	}
	limit, bytes := int(page.GetLimit()), 0
	if limit == 0 || limit > maxPage {
		limit = maxPage
	}
	result := &proto.Result{}
	err := snap.Scan(from, entryKey(shard, hi), func(key, value []byte) error {
		n := len(result.Values)
		if full := n >= limit || bytes > pageBytes; full && len(result.Values[n-1]) > 0 { // a cursor is not empty
			result.More = result.Values[n-1]
			return errStop
		}
		id, _, err := unsealField(key, positionOf(key), value)
		if err != nil {
			return err
		}
		result.Values = append(result.Values, []byte(id.Name))
		bytes += len(id.Name)
		return nil
	})
	if err != nil && err != errStop {
		return nil, err
	}
	found := len(result.Values) > 0 || len(page.GetAfter()) > 0
	return result, others(snap, shard, key, crdt.TypeSet, found, result)
}

func siblings(snap store.Snapshot, shard int, key string) (*proto.Result, error) {
	es, err := readField(snap, shard, crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeRegister}}.Position())
	if err != nil {
		return nil, err
	}
	result := &proto.Result{Flag: len(es) > 0}
	for _, e := range crdt.Ranked(es) {
		s := e.Payload.(crdt.Sibling)
		result.Siblings = append(result.Siblings, &proto.Sibling{Value: s.Value, Time: s.Time, Actor: uint64(e.Dot.Actor)})
	}
	return result, others(snap, shard, key, crdt.TypeRegister, len(es) > 0, result)
}
