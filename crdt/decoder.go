package crdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// decoder takes the canonical encoding apart. After the first error every
// method returns zero values, so callers check once, in end. What it
// allocates is bounded by the bytes it is given.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrInvalid, what)
	}
	d.rest = nil
}

// end returns the first error, or one if bytes are left over.
func (d *decoder) end(what string) error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return fmt.Errorf("decoding %s: %w", what, d.err)
	}
	return nil
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("cut off")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.bytes(8); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 { // a shorter encoding exists
		d.fail("malformed integer")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads the length of a list whose items take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail("cut off")
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (d *decoder) dot() Dot {
	return Dot{Actor(d.uint64()), d.uvarint()}
}

func (d *decoder) vector() VersionVector {
	n := d.count(9)
	v := make(VersionVector, n)
	for last := Actor(0); n > 0 && d.err == nil; n-- {
		dot := d.dot()
		if dot.Actor <= last || dot.Seq == 0 {
			d.fail("vector out of order")
		}
		last, v[dot.Actor] = dot.Actor, dot.Seq
	}
	return v
}

func (d *decoder) entries() Entries {
	n := d.count(10)
	if n == 0 {
		return nil
	}
	es := make(Entries, 0, n)
	for ; n > 0 && d.err == nil; n-- {
		es = append(es, Entry{d.dot(), d.payload()})
	}
	return es
}

func (d *decoder) payload() Payload {
	switch kind := d.byte(); kind {
	case kindPresence:
		return Presence{}
	case kindSibling:
		return Sibling{d.uint64(), bytes.Clone(d.bytes(d.uvarint()))}
	case kindContribution:
		return d.contribution()
	case kindCorrected:
		c := d.contribution()
		n := d.count(3)
		if n == 0 {
			d.fail("no corrections")
		}
		for ; n > 0 && d.err == nil; n-- {
			c.Corrections = append(c.Corrections, Correction{d.uvarint(), d.uvarint(), d.varint()})
		}
		return c
	case kindRecord:
		return Record{d.uvarint(), d.varint()}
	default:
		d.fail(fmt.Sprintf("unknown payload %d", kind))
		return Presence{}
	}
}

func (d *decoder) contribution() Contribution {
	return Contribution{N: d.uvarint(), Total: d.varint(), ResetN: d.uvarint(), ResetTotal: d.varint()}
}
