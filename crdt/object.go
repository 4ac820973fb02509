package crdt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Type is what an object is. It is part of the object's identity: a counter
// and a set of one key are two objects.
type Type uint8

// The types of objects. The numbers are on disk and on the wire.
const (
	TypeCounter  Type = 1
	TypeSet      Type = 2
	TypeRegister Type = 3
	// TypeOperation holds, under the key of a counter, what was counted by
	// operations with an id: see Record. Applications do not see it.
	TypeOperation Type = 4
)

// Types are all types of applications, in the order in which a program that shows one object
// per key prefers them.
var Types = [...]Type{TypeCounter, TypeSet, TypeRegister}

// String returns the name of the type in lower case.
func (t Type) String() string {
	switch t {
	case TypeCounter:
		return "counter"
	case TypeSet:
		return "set"
	case TypeRegister:
		return "register"
	case TypeOperation:
		return "operation"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Limits of what can be stored, in bytes.
const (
	MaxKeyBytes     = 4 << 10
	MaxElementBytes = 32 << 10
	MaxValueBytes   = 1 << 20
	// MaxSiblingsBytes is what the values of one register may take together, so that
	// a field fits into a message and a commit: see Draft.TrimRegister.
	MaxSiblingsBytes = 3 << 20
)

var (
	// ErrInvalid says that an argument, or something decoded, breaks a rule of
	// this package; the text says which.
	ErrInvalid = errors.New("invalid")
	// ErrOverflow says that a counter would leave the range of int64.
	ErrOverflow = errors.New("counter overflow")
)

// Object identifies what operations act on.
type Object struct {
	Key  string
	Type Type
}

// String returns the type and the quoted key.
func (o Object) String() string { return fmt.Sprintf("%s %q", o.Type, o.Key) }

// Validate checks the key's length and the type.
func (o Object) Validate() error {
	switch {
	case o.Key == "":
		return fmt.Errorf("%w: the key is empty; it takes 1 to %d bytes", ErrInvalid, MaxKeyBytes)
	case len(o.Key) > MaxKeyBytes:
		return fmt.Errorf("%w: the key has %d bytes; at most %d are allowed", ErrInvalid, len(o.Key), MaxKeyBytes)
	case o.Type < TypeCounter || o.Type > TypeOperation:
		return fmt.Errorf("%w: unknown type %d", ErrInvalid, uint8(o.Type))
	}
	return nil
}

// FieldID identifies one field of an object: an element of a set, the id of an
// operation, or the only field, named "", of a counter or register.
type FieldID struct {
	Object
	Name string
}

// Validate checks the object and the name.
func (f FieldID) Validate() error {
	if err := f.Object.Validate(); err != nil {
		return err
	}
	switch {
	case f.Type == TypeOperation && len(f.Name) != OperationIDBytes:
		return fmt.Errorf("%w: an operation id of %d bytes; it has %d", ErrInvalid, len(f.Name), OperationIDBytes)
	case f.Type != TypeSet && f.Type != TypeOperation && f.Name != "":
		return fmt.Errorf("%w: a %s has no field %q", ErrInvalid, f.Type, f.Name)
	case len(f.Name) > MaxElementBytes:
		return fmt.Errorf("%w: the element has %d bytes; at most %d are allowed", ErrInvalid, len(f.Name), MaxElementBytes)
	}
	return nil
}

// Position is the place of a field in a shard's hash order. Positions compare
// as strings. They are drawn as
//
//	hash(key) 8 | len(key) 2 | key | type 1 | hash(name) 8 | name
//
// big-endian, so that fields of an object are neighbours, objects are spread
// evenly, and any string cuts the order in two. A hash is bytes 16 to 23 of
// the SHA-256: the ring cuts shards by the first 16.
type Position string

// End is a bound above every position.
const End Position = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

// Position returns the place of the field.
func (f FieldID) Position() Position {
	p := f.Object.prefix(8 + len(f.Name))
	p = appendHash(p, f.Name)
	return Position(append(p, f.Name...))
}

// Range returns the bounds [lo, hi) of the positions of the object's fields.
func (o Object) Range() (lo, hi Position) {
	p := o.prefix(0)
	lo = Position(p)
	p[len(p)-1]++ // the type is far below 255
	return lo, Position(p)
}

func (o Object) prefix(spare int) []byte {
	p := make([]byte, 0, 11+len(o.Key)+spare)
	p = appendHash(p, o.Key)
	p = binary.BigEndian.AppendUint16(p, uint16(len(o.Key)))
	p = append(p, o.Key...)
	return append(p, byte(o.Type))
}

// appendHash hashes the empty string to zero: most fields have no name.
func appendHash(p []byte, s string) []byte {
	if s == "" {
		return append(p, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	sum := sha256.Sum256([]byte(s))
	return append(p, sum[16:24]...)
}

// FieldID returns the field at the position, or an error if the position is a
// mere bound. It does not check the hashes.
func (p Position) FieldID() (FieldID, error) {
	const fixed = 8 + 2 + 1 + 8
	n := 0
	if len(p) >= fixed {
		n = int(p[8])<<8 | int(p[9])
	}
	if len(p) < fixed+n || len(p) > math.MaxUint16 {
		return FieldID{}, fmt.Errorf("%w: malformed position of %d bytes", ErrInvalid, len(p))
	}
	return FieldID{
		Object: Object{Key: string(p[10 : 10+n]), Type: Type(p[10+n])},
		Name:   string(p[fixed+n:]),
	}, nil
}
