package crdttest

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolldb/atoll/crdt"
)

func TestLawsGCounter(t *testing.T) {
	Laws(t, Kind[*crdt.GCounter]{
		New: crdt.NewGCounter,
		Write: func(t *rapid.T, c *crdt.GCounter) (*crdt.Event, error) {
			return c.Add(uint64(rapid.IntRange(0, 9).Draw(t, "add")))
		},
		Heard: (*crdt.GCounter).Heard,
		Show:  func(c *crdt.GCounter) string { return fmt.Sprint(c.Value()) },
	})
}

func TestLawsPNCounter(t *testing.T) {
	Laws(t, Kind[*crdt.PNCounter]{
		New: crdt.NewPNCounter,
		Write: func(t *rapid.T, c *crdt.PNCounter) (*crdt.Event, error) {
			if rapid.IntRange(0, 3).Draw(t, "reset if 0") == 0 {
				return c.Reset()
			}
			return c.Add(int64(rapid.IntRange(-9, 9).Draw(t, "add")))
		},
		Heard: (*crdt.PNCounter).Heard,
		Show:  func(c *crdt.PNCounter) string { return fmt.Sprint(c.Value()) },
	})
}

func TestLawsORSet(t *testing.T) {
	Laws(t, Kind[*crdt.ORSet]{
		New: crdt.NewORSet,
		Write: func(t *rapid.T, s *crdt.ORSet) (*crdt.Event, error) {
			elements := rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "", "z"}), 1, 3).Draw(t, "elements")
			switch rapid.SampledFrom([]string{"add", "add", "remove", "clear"}).Draw(t, "what") {
			case "add":
				return s.Add(elements...)
			case "remove":
				return s.Remove(elements...)
			}
			return s.Clear()
		},
		Heard: (*crdt.ORSet).Heard,
		Show: func(s *crdt.ORSet) string {
			elements := s.Elements()
			for _, e := range elements {
				if !s.Has(e) {
					return fmt.Sprintf("%q is an element and is not", e)
				}
			}
			return fmt.Sprintf("%d: %q", s.Len(), elements)
		},
	})
}

func TestLawsLWWRegister(t *testing.T) {
	Laws(t, Kind[*crdt.LWWRegister]{
		New: crdt.NewLWWRegister,
		Write: func(t *rapid.T, r *crdt.LWWRegister) (*crdt.Event, error) {
			now := rapid.Uint64Range(0, 5).Draw(t, "now")
			if now == 0 {
				return r.Clear()
			}
			return r.Set([]byte{rapid.Byte().Draw(t, "value")}, now)
		},
		Heard: (*crdt.LWWRegister).Heard,
		Show: func(r *crdt.LWWRegister) string {
			value, found := r.Value()
			return fmt.Sprint(value, found, r.Siblings())
		},
	})
}

// shard is a State with an actor of its own.
type shard struct {
	*crdt.State
	actor crdt.Actor
}

func (s *shard) Merge(o *shard) { s.State.Merge(o.State) }

// write groups random operations on several objects of all types.
func (s *shard) write(t *rapid.T) (*crdt.Event, error) {
	d := s.Draft(s.actor)
	for range rapid.IntRange(1, 4).Draw(t, "operations") {
		if err := draft(t, d, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")); err != nil {
			return nil, err
		}
	}
	e, changed := d.Event(rapid.Int64().Draw(t, "time"))
	if !changed {
		return nil, nil
	}
	return e, s.Apply(e)
}

func draft(t *rapid.T, d *crdt.Draft, key string) error {
	var err error
	element := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "element")
	switch rapid.SampledFrom([]string{"count", "reset", "add", "remove", "set", "delete"}).Draw(t, "what") {
	case "count":
		_, err = d.AddToCounter(key, int64(rapid.IntRange(-9, 9).Draw(t, "add")))
	case "reset":
		err = d.ResetCounter(key)
	case "add":
		_, err = d.AddElement(key, element)
	case "remove":
		_, err = d.RemoveElement(key, element)
	case "set":
		err = d.WriteRegister(key, rapid.Uint64Range(0, 5).Draw(t, "now"), []byte(element))
	default:
		err = d.Delete(crdt.Object{Key: key, Type: rapid.SampledFrom(crdt.Types[:]).Draw(t, "type")})
	}
	return err
}

// show lists all fields and their values.
func (s *shard) show() string {
	text := ""
	err := s.Visit("", crdt.End, func(at crdt.Position, es crdt.Entries) error {
		id, err := crdt.DecodePosition(at)
		text += fmt.Sprintln(id, es)
		return err
	})
	return fmt.Sprint(text, err)
}

func TestLawsState(t *testing.T) {
	Laws(t, Kind[*shard]{
		New:   func(a crdt.Actor) *shard { return &shard{crdt.NewState(), a} },
		Write: func(t *rapid.T, s *shard) (*crdt.Event, error) { return s.write(t) },
		Heard: func(s *shard) crdt.VersionVector { return s.State.Heard().Vector() },
		Show:  (*shard).show,
	})
}
