package book

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atolldb/atoll/client"
)

// Reading is what one region holds under each key, in a form that is the same
// if and only if the value is.
type Reading map[string]string

// Read reads all that the book knows of through a client and holds it against
// the book. It returns what it has read, and everything that is wrong.
func (b *Book) Read(ctx context.Context, c *client.Client) (Reading, []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	read := Reading{}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for name := range b.counters {
		value, err := c.Counter(name).Value(ctx)
		if err == nil {
			err = b.checkCounter(name, value)
		}
		check(err)
		read[name] = fmt.Sprint(value)
	}
	for name := range b.sets {
		members, err := readSet(ctx, c, name)
		if err == nil {
			errs = append(errs, b.checkSet(name, members)...)
		}
		check(err)
		read[name] = printed(slices.Sorted(maps.Keys(members)))
	}
	for name := range b.registers {
		siblings, err := readRegister(ctx, c, name)
		if err == nil {
			err = errors.Join(b.checkRegister(name, siblings), b.checkLooks(name))
		}
		check(err)
		read[name] = printed(siblings)
	}
	return read, errs
}

func readSet(ctx context.Context, c *client.Client, name string) (map[string]bool, error) {
	members := map[string]bool{}
	for member, err := range c.Set(name).Members(ctx) {
		if err != nil {
			return members, err
		}
		members[member] = true
	}
	n, err := c.Set(name).Len(ctx)
	if err == nil && n != len(members) {
		err = fmt.Errorf("set %s has %d members and a length of %d", name, len(members), n)
	}
	return members, err
}

// readRegister returns the values of a register, none if nothing is there.
func readRegister(ctx context.Context, c *client.Client, name string) ([]client.Sibling, error) {
	siblings, err := c.Register(name).Siblings(ctx)
	if errors.Is(err, client.ErrNotFound) {
		return nil, nil
	}
	return siblings, err
}

// Differ returns the keys, in order, under which two regions hold different
// things.
func (r Reading) Differ(other Reading) []string {
	var keys []string
	for key, value := range r {
		if was, ok := other[key]; !ok || was != value {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// checkCounter holds a counter's value against what was added.
func (b *Book) checkCounter(name string, value int64) error {
	t := b.counters[name]
	if value < t.sum-t.maybeMinus || value > t.sum+t.maybePlus {
		return fmt.Errorf("counter %s is %d; acknowledged are %d, unknown +%d and -%d, refused %d",
			name, value, t.sum, t.maybePlus, t.maybeMinus, t.refused)
	}
	return nil
}

// checkSet holds the members of a set against what was added and removed.
func (b *Book) checkSet(name string, members map[string]bool) (errs []error) {
	for m := range members {
		if b.sets[name][m] == nil {
			errs = append(errs, fmt.Errorf("set %s holds %q, which nobody added", name, m))
		}
	}
	for m, e := range b.sets[name] {
		switch {
		case members[m] && e.added == Refused:
			errs = append(errs, fmt.Errorf("set %s holds %q, which was refused", name, m))
		case members[m] && e.removed == Done:
			errs = append(errs, fmt.Errorf("set %s holds %q, which was removed", name, m))
		case !members[m] && e.added == Done && e.removed == 0:
			errs = append(errs, fmt.Errorf("set %s lacks %q", name, m))
		}
	}
	return errs
}

// rounding is how much the times of two writes may be off where clocks are not:
// members round to milliseconds.
const rounding = 2 * time.Millisecond

// checkRegister holds the siblings of a register, the winner first, against
// what was written: a write that began after the winner's end has a later time,
// as far as the clocks of members agree, and must have won over it.
func (b *Book) checkRegister(name string, siblings []client.Sibling) error {
	for _, s := range siblings {
		if w := b.registers[name][string(s.Value)]; w == nil || w.outcome == Refused {
			return fmt.Errorf("register %s holds %q, which nobody wrote or was refused", name, s.Value)
		}
	}
	if len(siblings) == 0 {
		for value, w := range b.registers[name] {
			if w.outcome == Done {
				return fmt.Errorf("register %s lacks %q and holds nothing", name, value)
			}
		}
		return nil
	}
	winner := b.registers[name][string(siblings[0].Value)]
	if winner.outcome == Unknown {
		return nil // it may have been done at any time
	}
	for value, w := range b.registers[name] {
		if w.outcome == Done && w.began.After(winner.end.Add(b.Skew+rounding)) {
			return fmt.Errorf("register %s has the value %q; %q was written %v later", name, siblings[0].Value, value, w.began.Sub(winner.end))
		}
	}
	return nil
}
