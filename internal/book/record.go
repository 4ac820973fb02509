package book

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/atolldb/atoll/client"
)

// Record is what remains of a book once all regions agreed and were read, and
// nobody writes to its sets and registers any more: they must stay as they are.
// It takes little memory however much was written.
type Record struct {
	sets, registers []string
	held            Reading
}

// Record returns the record of a book that is closed, and what was read then.
func (b *Book) Record(held Reading) *Record {
	r := &Record{slices.Sorted(maps.Keys(b.sets)), slices.Sorted(maps.Keys(b.registers)), Reading{}}
	for _, name := range slices.Concat(r.sets, r.registers) {
		r.held[name] = held[name]
	}
	return r
}

// Read reads all of it again through a client, and returns what has changed.
func (r *Record) Read(ctx context.Context, c *client.Client) (errs []error) {
	check := func(name, now string, err error) {
		if err == nil && now != r.held[name] {
			err = fmt.Errorf("%s was %.200s and is %.200s, though nobody wrote to it", name, r.held[name], now)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range r.sets {
		members, err := readSet(ctx, c, name)
		check(name, printed(slices.Sorted(maps.Keys(members))), err)
	}
	for _, name := range r.registers {
		siblings, err := readRegister(ctx, c, name)
		check(name, printed(siblings), err)
	}
	return errs
}

// printed returns a value as text or, if that is long, a digest of it.
func printed(value any) string {
	text := fmt.Sprint(value)
	if len(text) <= 2*sha256.Size {
		return text
	}
	return fmt.Sprintf("%d bytes, SHA-256 %x", len(text), sha256.Sum256([]byte(text)))
}
