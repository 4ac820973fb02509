package replica

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/proto"
)

// maxScanned is how many headers a page of a scan is made of at most: any number
// of them may be of what is not shown.
const maxScanned = 10_000

// isScan says whether a request is about a whole shard, and not about the objects
// that it names.
func isScan(request *proto.Request) bool {
	operations := request.GetOperations()
	return len(operations) == 1 && operations[0].GetScan() != nil
}

func checkScan(op *proto.Operation) error {
	prefix, page := op.GetKey(), op.GetScan()
	switch after := page.GetAfter(); {
	case len(prefix) > crdt.MaxKeyBytes:
		return fmt.Errorf("%w: a scan of keys that begin with %d bytes; a key has at most %d", crdt.ErrInvalid, len(prefix), crdt.MaxKeyBytes)
	case len(after) > crdt.MaxKeyBytes+1 || len(after) > 0 && !bytes.HasPrefix(after, prefix):
		return fmt.Errorf("%w: %.64q is not the cursor of a scan of keys that begin with %.64q", crdt.ErrInvalid, after, prefix)
	case page.GetType() > uint32(len(crdt.Types)):
		return fmt.Errorf("%w: a scan of the unknown type %d; 0 scans all types", crdt.ErrInvalid, page.GetType())
	}
	return nil
}

// scan returns a page of the objects that there are under keys with a prefix. It
// reads the headers, which are in the order of key and type, and the entries of
// counters only, the headers of which count what resets have left, too.
func scan(snap store.Snapshot, shard int, prefix []byte, page *proto.Scan) (*proto.Result, error) {
	low := append(shardKey('h', shard, len(prefix)), prefix...)
	from := low
	if after := page.GetAfter(); len(after) > 0 {
		from = append(append(shardKey('h', shard, len(after)+1), after...), 0)
	}
	limit := int(page.GetLimit())
	if limit == 0 || limit > maxPage {
		limit = maxPage
	}
	result := &proto.Result{}
	var last []byte
	scanned, size := 0, 0
	err := snap.Scan(from, prefixEnd(low), func(key, value []byte) error {
		if scanned == maxScanned || len(result.Objects) == limit || size > pageBytes {
			result.More = last
			return errStop
		}
		object, err := scanOne(snap, shard, key, value)
		if err != nil {
			return err
		}
		scanned++
		last = append(last[:0], key[shardPrefixBytes:]...)
		isAsked := page.GetType() == 0 || page.GetType() == object.GetType()
		if object != nil && isAsked && bytes.HasPrefix(object.GetKey(), prefix) { // the type may have been taken for its end
			result.Objects = append(result.Objects, object)
			size += len(object.GetKey())
		}
		return nil
	})
	if err != nil && err != errStop {
		return nil, err
	}
	return result, nil
}

// scanOne returns the object of a header, nil if it is not shown.
func scanOne(snap store.Snapshot, shard int, header, value []byte) (*proto.Object, error) {
	n := len(header) - 1
	if n <= shardPrefixBytes {
		return nil, fmt.Errorf("%w: %x among the headers", store.ErrCorrupt, header) // nothing here writes such a key
	}
	o := crdt.Object{Key: string(header[shardPrefixBytes:n]), Type: crdt.Type(header[n])}
	if !slices.Contains(crdt.Types[:], o.Type) {
		return nil, nil
	}
	fields, err := decodeHeader(header, value)
	if err != nil {
		return nil, err
	}
	if o.Type == crdt.TypeCounter {
		if isThere, err := exists(snap, shard, o); err != nil || !isThere {
			return nil, err
		}
	}
	return &proto.Object{Key: []byte(o.Key), Type: uint32(o.Type), Fields: fields}, nil
}

// prefixEnd is above all keys that begin with a prefix, which is not all 0xff.
func prefixEnd(prefix []byte) []byte {
	n := len(prefix)
	for prefix[n-1] == 0xff {
		n--
	}
	end := slices.Clone(prefix[:n])
	end[n-1]++
	return end
}
