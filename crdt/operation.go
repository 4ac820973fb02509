package crdt

import (
	"encoding/binary"
	"fmt"
)

// OperationIDBytes is the length of an OperationID.
const OperationIDBytes = 16

// OperationID names an operation of a client for good, so that it can be sent
// again: six bytes of the time when it was made, in unix milliseconds, big-endian,
// and ten that nobody else has drawn.
type OperationID [OperationIDBytes]byte

// NewOperationID returns the id of an operation that begins at a time in unix
// milliseconds, with ten random bytes.
func NewOperationID(unixMs int64, random [10]byte) (id OperationID) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(0, unixMs)))
	copy(id[:6], ms[2:])
	copy(id[6:], random[:])
	return id
}

// UnixMs returns when the id was made, in unix milliseconds by the clock of who
// made it.
func (id OperationID) UnixMs() int64 {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return int64(binary.BigEndian.Uint64(ms[:]))
}

// Record says that an event has counted an operation, so that others do not
// count it once more.
//
// How can two copies take one operation at the same time, neither having heard
// of the other, and count it once? Both have counted it, each with a record under
// the operation's id, and nothing is lost that a client was told is done. Who
// comes to hold two records of an id knows. The one of the least dot stands. The
// writer of another takes its own increment out of its total again and removes
// its record, in one event; so it does that once, whatever fails. Which one stands
// depends on nothing but their dots, so nobody has to agree on it.
//
// Records are entries as all others: they are in the events, in the log, in
// digests and in pulls, so a copy knows of the operations that it has heard of,
// however it has heard of them.
type Record struct {
	Into   uint64 // seq of the dot of the writer's contribution that it was added to
	Amount int64  // what was added; 0 once the same event has reset it
}

func (r Record) join(Payload) Payload { return r }

func counterField(key string) FieldID { return FieldID{Object{key, TypeCounter}, ""} }

func recordField(key string, id OperationID) FieldID {
	return FieldID{Object{key, TypeOperation}, string(id[:])}
}

// Counted says whether what the operation adds to a counter is in the counter as
// this copy has it. A record the event of which the counter's own range has not
// heard does not count: what it speaks of may never come.
func (d *Draft) Counted(key string, id OperationID) (bool, error) {
	f, err := d.load(recordField(key, id))
	if err != nil {
		return false, err
	}
	heard := d.heard.At(counterField(key).Position())
	for _, e := range f.now {
		if e.Dot == d.dot || heard.Covers(e.Dot) {
			return true, nil
		}
	}
	return false, nil
}

// AddOnce adds k to a counter and records that the operation has done so, of
// which the caller knows that it is not Counted. Within an operation it may be
// called several times for a counter. It returns the new value.
func (d *Draft) AddOnce(key string, id OperationID, k int64) (int64, error) {
	f, err := d.load(counterField(key))
	if err != nil {
		return 0, err
	}
	records, err := d.load(recordField(key, id))
	if err != nil {
		return 0, err
	}
	now, into, value, err := addToCounter(f.now, d.dot, k)
	if err != nil {
		return 0, err
	}
	record := Record{Into: into.Seq, Amount: k}
	if i, again := records.now.Find(d.dot); again {
		var fits bool
		was := records.now[i].Payload.(Record)
		if record.Amount, fits = addInt64(was.Amount, k); !fits || was.Into != record.Into {
			return 0, fmt.Errorf("%w: what the operation adds does not fit into 64 bits", ErrOverflow)
		}
	}
	d.set(f, now)
	d.set(records, records.now.with(Entry{d.dot, record}))
	return value, nil
}

// voidRecords says of the records of the event being drafted that a reset has
// taken what they speak of: what the event adds after it is another contribution.
func (d *Draft) voidRecords(key string) {
	for _, f := range d.touched {
		if f.id.Object != (Object{key, TypeOperation}) {
			continue
		}
		if i, drafted := f.now.Find(d.dot); drafted {
			r := f.now[i].Payload.(Record)
			r.Amount = 0
			d.set(f, f.now.with(Entry{d.dot, r}))
		}
	}
}

// CorrectOperation takes out of the actor's contribution what it has added for
// an operation that another event of a lesser dot has counted, too, as far as
// this copy has heard. If there is no such event it changes nothing and returns
// false.
func (d *Draft) CorrectOperation(key string, id OperationID) (bool, error) {
	records, err := d.load(recordField(key, id))
	if err != nil {
		return false, err
	}
	own, found := d.surplus(key, records.now)
	if !found {
		return false, nil
	}
	f, err := d.load(counterField(key))
	if err != nil {
		return false, err
	}
	r := own.Payload.(Record)
	if i, there := f.now.Find(Dot{own.Dot.Actor, r.Into}); there && r.Amount != 0 {
		c, fits := f.now[i].Payload.(Contribution).corrected(own.Dot.Seq, d.dot.Seq, r.Amount)
		if !fits {
			return false, nil // there may be room another time
		}
		d.set(f, f.now.with(Entry{f.now[i].Dot, c}))
	}
	d.set(records, records.now.without(func(e Entry) bool { return e.Dot == own.Dot }))
	return true, nil
}

// surplus returns the actor's own record among those of an operation, if a lesser
// one stands that the counter has heard.
func (d *Draft) surplus(key string, records Entries) (own Entry, found bool) {
	heard := d.heard.At(counterField(key).Position())
	stands := false
	for _, e := range records { // in dot order
		if e.Dot.Actor == d.dot.Actor && e.Dot != d.dot && stands {
			return e, true
		}
		stands = stands || heard.Covers(e.Dot)
	}
	return Entry{}, false
}

// ForgetOperation removes what is recorded of an operation.
func (d *Draft) ForgetOperation(key string, id OperationID) error {
	f, err := d.load(recordField(key, id))
	if err == nil && len(f.now) > 0 {
		d.set(f, nil)
	}
	return err
}
