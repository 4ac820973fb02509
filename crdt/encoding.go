package crdt

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// The canonical encoding: equal values have equal bytes, so that bytes can be
// hashed, and decoding accepts nothing else. Integers are uvarints unless
// said otherwise, strings are their length and their bytes, lists their length
// and their items, dots, vectors and fields in ascending order. So no encoding is
// the beginning of another of its kind, and what was cut short is refused.
//
//	actor     8 bytes big-endian
//	dot       actor seq
//	vector    list of dots
//	entry     dot payload
//	payload   0x00                                       presence
//	          0x01 time(8 bytes) value                   sibling
//	          0x02 n zigzag(total) rn zigzag(rtotal)     contribution
//	          0x03 into zigzag(amount)                   record
//	          0x04 as 0x02, then list(from at zigzag(amount)), not empty
//	                                                     contribution with corrections
//	entries   list of entry
//	change    type(1) key name entries list(dot)
//	clear     type(1) key vector
//	event     version(1) dot zigzag(time) vector list(change) list(clear)
//	span      string(start) vector
//	heard     list of span
//	field     string(position) string(entries)           entries not empty
//	state     version(1) string(heard) list(field)

const (
	kindPresence     = 0
	kindSibling      = 1
	kindContribution = 2
	kindRecord       = 3
	kindCorrected    = 4

	eventVersion = 1
	// stateVersion is that of a State. The first version had neither number nor
	// count of fields, so that it did not show when it was cut short; it began
	// with a length of at least 3.
	stateVersion = 2

	// minFieldBytes is the length of the shortest field of a state: a position of
	// 20 bytes and entries of 11, each behind its length.
	minFieldBytes = 1 + 20 + 1 + 11
)

func (p Presence) appendTo(b []byte) []byte { return append(b, kindPresence) }

func (s Sibling) appendTo(b []byte) []byte {
	b = append(b, kindSibling)
	b = binary.BigEndian.AppendUint64(b, s.Time)
	return appendString(b, string(s.Value))
}

func (c Contribution) appendTo(b []byte) []byte {
	kind := byte(kindContribution)
	if len(c.Corrections) > 0 {
		kind = kindCorrected
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, c.N)
	b = binary.AppendVarint(b, c.Total)
	b = binary.AppendUvarint(b, c.ResetN)
	b = binary.AppendVarint(b, c.ResetTotal)
	if len(c.Corrections) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(c.Corrections)))
	for _, k := range c.Corrections {
		b = binary.AppendUvarint(b, k.From)
		b = binary.AppendUvarint(b, k.At)
		b = binary.AppendVarint(b, k.Amount)
	}
	return b
}

func (r Record) appendTo(b []byte) []byte {
	b = append(b, kindRecord)
	b = binary.AppendUvarint(b, r.Into)
	return binary.AppendVarint(b, r.Amount)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (d Dot) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(d.Actor))
	return binary.AppendUvarint(b, d.Seq)
}

// AppendTo appends the canonical encoding of the entry.
func (e Entry) AppendTo(b []byte) []byte { return e.Payload.appendTo(e.Dot.appendTo(b)) }

// AppendTo appends the canonical encoding of the entries.
func (es Entries) AppendTo(b []byte) []byte {
	b = slices.Grow(b, 1+32*len(es)) // enough unless there are values
	b = binary.AppendUvarint(b, uint64(len(es)))
	for _, e := range es {
		b = e.AppendTo(b)
	}
	return b
}

// AppendTo appends the canonical encoding of the vector.
func (v VersionVector) AppendTo(b []byte) []byte {
	actors := v.Actors()
	b = slices.Grow(b, 1+12*len(actors)) // enough as a rule
	b = binary.AppendUvarint(b, uint64(len(actors)))
	for _, a := range actors {
		b = Dot{a, v[a]}.appendTo(b)
	}
	return b
}

// AppendTo appends the canonical encoding of all spans.
func (h *Heard) AppendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(h.spans)))
	for _, s := range h.spans {
		b = appendString(b, string(s.Start))
		b = s.Vector.AppendTo(b)
	}
	return b
}

// AppendTo appends the canonical encoding of the event.
func (e *Event) AppendTo(b []byte) []byte {
	b = append(b, eventVersion)
	b = e.Dot.appendTo(b)
	b = binary.AppendVarint(b, e.Time)
	b = e.Deps.AppendTo(b)
	b = binary.AppendUvarint(b, uint64(len(e.Changes)))
	for _, c := range e.Changes {
		b = append(b, byte(c.Field.Type))
		b = appendString(b, c.Field.Key)
		b = appendString(b, c.Field.Name)
		b = c.Puts.AppendTo(b)
		b = binary.AppendUvarint(b, uint64(len(c.Removes)))
		for _, d := range c.Removes {
			b = d.appendTo(b)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(e.Clears)))
	for _, c := range e.Clears {
		b = append(b, byte(c.Object.Type))
		b = appendString(b, c.Object.Key)
		b = c.UpTo.AppendTo(b)
	}
	return b
}

// DecodeEvent decodes and validates an event. Nothing of it refers to b.
func DecodeEvent(b []byte) (*Event, error) {
	d := decoder{rest: b}
	if v := d.byte(); d.err == nil && v != eventVersion {
		return nil, fmt.Errorf("%w: event of version %d, this program knows %d", ErrInvalid, v, eventVersion)
	}
	e := &Event{Dot: d.dot(), Time: d.varint(), Deps: d.vector()}
	for n := d.count(5); n > 0 && d.err == nil; n-- {
		c := Change{Field: FieldID{Object{Type: Type(d.byte()), Key: d.string()}, ""}}
		c.Field.Name = d.string()
		c.Puts = d.entries()
		for m := d.count(9); m > 0 && d.err == nil; m-- {
			c.Removes = append(c.Removes, d.dot())
		}
		e.Changes = append(e.Changes, c)
	}
	for n := d.count(3); n > 0 && d.err == nil; n-- {
		c := Clear{Object: Object{Type: Type(d.byte()), Key: d.string()}}
		c.UpTo = d.vector()
		e.Clears = append(e.Clears, c)
	}
	if err := d.end("event"); err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

// DecodeEntries decodes the entries of a field at a position and validates
// them. Nothing of them refers to b.
func DecodeEntries(t Type, b []byte) (Entries, error) {
	d := decoder{rest: b}
	es := d.entries()
	if err := d.end("entries"); err != nil {
		return nil, err
	}
	if err := es.validate(t); err != nil {
		return nil, err
	}
	return es, nil
}

// DecodeVector decodes a vector.
func DecodeVector(b []byte) (VersionVector, error) {
	d := decoder{rest: b}
	v := d.vector()
	if err := d.end("vector"); err != nil {
		return nil, err
	}
	return v, nil
}

// DecodeHeard decodes the spans of a shard.
func DecodeHeard(b []byte) (*Heard, error) {
	d := decoder{rest: b}
	h := &Heard{}
	for n := d.count(2); n > 0 && d.err == nil; n-- {
		s := Span{Position(d.string()), d.vector()}
		switch m := len(h.spans); {
		case m == 0 && s.Start != "", m > 0 && s.Start <= h.spans[m-1].Start, s.Start >= End:
			d.fail("spans out of order")
		case m > 0 && s.Vector.Compare(h.spans[m-1].Vector) == Equal:
			d.fail("neighbouring spans are equal")
		}
		h.spans = append(h.spans, s)
	}
	if len(h.spans) == 0 {
		d.fail("no spans")
	}
	if err := d.end("spans"); err != nil {
		return nil, err
	}
	return h, nil
}

// DecodePosition returns the field at a position that came from elsewhere:
// unlike FieldID it checks the hashes and the limits.
func DecodePosition(p Position) (FieldID, error) {
	id, err := p.FieldID()
	if err != nil {
		return id, err
	}
	if err := id.Validate(); err != nil {
		return id, err
	}
	if id.Position() != p {
		return id, fmt.Errorf("%w: position does not hash to itself", ErrInvalid)
	}
	return id, nil
}

func compareObjects(a, b Object) int {
	return strings.Compare(string(a.prefix(0)), string(b.prefix(0)))
}
