package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolldb/atoll/internal/store"
)

// contents is the model of a store: a plain map, sorted when it is scanned.
type contents map[string]string

// model runs random histories against the store and the model. Snapshots stay
// open across commits and are compared with the model as it was.
func model(t *testing.T, s store.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		empty(rt, s)
		m := &machine{store: s, now: contents{}}
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"commit": m.commit,
			"open":   m.open,
			"drop":   m.drop,
			"get":    m.get,
			"scan":   m.scan,
		})
		m.open(rt)
		for _, f := range m.frozen {
			f.compare(rt, nil, nil)
		}
	})
}

// machine is the state of one history.
type machine struct {
	store  store.Store
	now    contents
	frozen []frozen
}

// frozen is a snapshot and what it must hold.
type frozen struct {
	snap store.Snapshot
	then contents
}

func (m *machine) close() {
	for _, f := range m.frozen {
		f.snap.Close()
	}
}

// Keys are few and share prefixes, so that writes meet and bounds matter.
var someKey = rapid.StringMatching(`[abc\xff]{1,3}`)

func (m *machine) commit(rt *rapid.T) {
	var b store.Batch
	for range rapid.IntRange(1, 8).Draw(rt, "writes") {
		key := someKey.Draw(rt, "key")
		if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
			b.Delete([]byte(key))
			delete(m.now, key)
			continue
		}
		value := rapid.StringN(0, 5, 20).Draw(rt, "value")
		b.Put([]byte(key), []byte(value))
		m.now[key] = value
	}
	if err := m.store.Commit(&b); err != nil {
		rt.Fatalf("Commit: %v", err)
	}
}

func (m *machine) open(*rapid.T) {
	m.frozen = append(m.frozen, frozen{m.store.Snapshot(), maps.Clone(m.now)})
}

func (m *machine) drop(rt *rapid.T) {
	if len(m.frozen) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.frozen)-1).Draw(rt, "snapshot")
	m.frozen[i].snap.Close()
	m.frozen = slices.Delete(m.frozen, i, i+1)
}

func (m *machine) get(rt *rapid.T) {
	if len(m.frozen) == 0 {
		m.open(rt)
	}
	f := rapid.SampledFrom(m.frozen).Draw(rt, "snapshot")
	key := someKey.Draw(rt, "key")
	got, err := f.snap.Get([]byte(key))
	want, present := f.then[key]
	if present && (err != nil || string(got) != want) || !present && !errors.Is(err, store.ErrNotFound) {
		rt.Fatalf("Get(%q) = %q, %v; want %q, present: %v", key, got, err, want, present)
	}
}

func (m *machine) scan(rt *rapid.T) {
	if len(m.frozen) == 0 {
		m.open(rt)
	}
	f := rapid.SampledFrom(m.frozen).Draw(rt, "snapshot")
	var hi []byte
	if rapid.Bool().Draw(rt, "bounded") {
		hi = []byte(someKey.Draw(rt, "hi"))
	}
	f.compare(rt, []byte(someKey.Draw(rt, "lo")), hi)
}

// compare scans [lo, hi) in the snapshot and in the model.
func (f frozen) compare(rt *rapid.T, lo, hi []byte) {
	var got, want []string
	err := f.snap.Scan(lo, hi, func(key, value []byte) error {
		got = append(got, fmt.Sprintf("%q=%q", key, value))
		return nil
	})
	for _, key := range slices.Sorted(maps.Keys(f.then)) {
		if key >= string(lo) && (hi == nil || key < string(hi)) {
			want = append(want, fmt.Sprintf("%q=%q", key, f.then[key]))
		}
	}
	if err != nil || !slices.Equal(got, want) {
		rt.Fatalf("Scan(%q, %q) = %v, %v; want %v", lo, hi, got, err, want)
	}
}

// empty deletes everything, for the next history.
func empty(rt *rapid.T, s store.Store) {
	var b store.Batch
	snap := s.Snapshot()
	defer snap.Close()
	err := snap.Scan(nil, nil, func(key, _ []byte) error {
		b.Delete(slices.Clone(key))
		return nil
	})
	if err == nil {
		err = s.Commit(&b)
	}
	if err != nil {
		rt.Fatalf("emptying the store: %v", err)
	}
}
